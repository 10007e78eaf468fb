"""What lies in an account under its prefix, or is open there, that no file in the ledger has to do with.

The account is listed first, then the ledger is asked. What carries no file's id of ours is a stranger: it is told, and
never touched; so is an owner's own copy of ours. What carries our id and belongs to nothing that is alive was left
behind: of a file that was erased, or of one that the ledger never had. With `clean` it is removed, by that very id, if
the ledger can be trusted to know: see `_Walk._may_be_removed`. Leaves to others: replicas (`verify.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Protocol

from file.background.discrepancies import AccountFindings, Findings, Problem, Stranger
from file.background.verify import together
from file.ledger.acquaintance import Acquaintance, Judged, Met, Standing
from file.logic.errors import AccountError
from file.logic.naming import begun_at, can_be_ours
from file.logic.seams import FoundObject, Inventory, Listing
from file.logic.values import FILE_ACCOUNTS, FILE_ID, FileState
from file.s3.listing import ListedUpload

_AT_ONCE = 16  # looks, an account
# None of ours is under way for so long: the lifecycle rule of docs/operations.md ends open uploads after two days.
SETTLED = timedelta(days=3)


class CleaningRefusedError(Exception):
    """The ledger knows no file at all: then everything would look left behind."""


class Walked(Listing, Protocol):
    """An account that is listed, and its open uploads, too."""

    def uploads(self) -> AsyncGenerator[Sequence[ListedUpload]]:
        """Page by page. Raises `AccountError`."""


class Strangers:
    """`clean`: remove what was left behind. `findings` has an entry an account; what failed before is not walked.

    `settled`: so old is what nobody can be at any more.
    """

    def __init__(
        self,
        acquaintance: Acquaintance,
        accounts: Sequence[tuple[Walked, Inventory]],
        findings: Findings,
        *,
        clean: bool = False,
        dry_run: bool = False,
        settled: timedelta = SETTLED,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._acquaintance = acquaintance
        self._accounts = accounts
        self._findings = findings
        self._clean = clean
        self._dry_run = dry_run
        self._settled = settled
        self._told = told

    async def check(self) -> None:
        """Raises `CleaningRefusedError` if nothing may be removed, for the ledger knows nothing."""
        if self._clean and await self._acquaintance.span() is None:
            raise CleaningRefusedError

    async def run(self) -> None:
        """Raises `LedgerUnavailableError`."""
        await together([self._walk(listing, inventory) for listing, inventory in self._accounts])

    async def _walk(self, listing: Walked, inventory: Inventory) -> None:
        own = self._findings.accounts[listing.account.name]
        if own.error is not None:
            return
        own.is_listed()
        walk = _Walk(
            self._acquaintance,
            listing,
            inventory,
            self._findings,
            clean=self._clean,
            dry_run=self._dry_run,
            settled=self._settled,
        )
        try:
            async with aclosing(listing.pages()) as pages:
                async for keys in pages:
                    await walk.objects(keys)
                    self._told()
            async with aclosing(listing.uploads()) as uploads:
                async for page in uploads:
                    await walk.uploads(page)
        except AccountError as error:
            own.error = error


class _Walk:
    """Through one account."""

    def __init__(
        self,
        acquaintance: Acquaintance,
        listing: Walked,
        inventory: Inventory,
        findings: Findings,
        *,
        clean: bool,
        dry_run: bool,
        settled: timedelta,
    ) -> None:
        self._acquaintance = acquaintance
        self._listing = listing
        self._inventory = inventory
        self._account = listing.account
        self._findings = findings
        self._own: AccountFindings = findings.accounts[listing.account.name]
        self._clean = clean
        self._dry_run = dry_run
        self._settled = settled
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def objects(self, object_keys: Sequence[str]) -> None:
        """One page. Raises `AccountError`."""
        self._own.objects = (self._own.objects or 0) + len(object_keys)
        known = await self._acquaintance.known(self._account, object_keys)
        carrying: list[tuple[str, FoundObject]] = []
        await together([self._look(key, carrying) for key in object_keys if key not in known])
        ids = {found.metadata[FILE_ID] for _, found in carrying}
        states = await self._acquaintance.states(ids) if ids else {}
        span = await self._acquaintance.span() if ids else None
        for object_key, found in carrying:
            file_id = found.metadata[FILE_ID]
            state = states.get(file_id)
            if state not in (None, FileState.ERASED):
                self._strange(object_key)  # an owner's copy, under another key or in an account that is not to have it
                continue
            trusted = state is FileState.ERASED or self._may_be_removed(found, span)
            await self._left(object_key, file_id, known=state is not None, trusted=trusted)

    async def uploads(self, page: Sequence[ListedUpload]) -> None:
        """One page. Raises `AccountError`."""
        met = [Met(object_key=u.object_key, upload_id=u.upload_id, begun=u.begun) for u in page]
        self._own.uploads = (self._own.uploads or 0) + len(met)
        for judged in await self._acquaintance.judge(self._account, met):
            if judged.standing is Standing.STRANGER:
                self._strange(judged.met.object_key, judged.met.upload_id)
            elif judged.standing is Standing.LEFT:
                await self._left_open(judged)

    async def _look(self, object_key: str, carrying: list[tuple[str, FoundObject]]) -> None:
        if not can_be_ours(object_key.removeprefix(self._account.prefix)):
            self._strange(object_key)
            return
        async with self._slots:
            try:
                found = await self._listing.look(object_key)
            except AccountError as error:
                if error.retryable:  # it was asked again and again
                    raise
                self._tell(object_key, error.code, "not_looked_at", error.detail)
                self._own.unanswered += 1
                return
        if found is None:  # gone since it was listed
            return
        if begun_at(found.metadata.get(FILE_ID, "")) is None:
            self._strange(object_key)
        else:
            carrying.append((object_key, found))

    def _may_be_removed(self, found: FoundObject, span: tuple[datetime, datetime] | None) -> bool:
        """Of a file that the ledger does not know: whether it would know it, if it had ever been a file.

        It began while the ledger was kept (what is older, or newer, may be of a ledger that was lost, or of the time
        behind a copy that was put in its place), nobody can be at it any more, and it says itself that it is to be in
        this account.
        """
        begun = begun_at(found.metadata[FILE_ID])
        assert begun is not None  # or it would be a stranger
        names = [name.strip() for name in found.metadata.get(FILE_ACCOUNTS, "").split(",")]
        is_settled = max(begun, found.last_modified) < datetime.now(UTC) - self._settled
        return span is not None and span[0] <= begun <= span[1] and is_settled and self._account.name in names

    def _strange(self, object_key: str, upload_id: str | None = None) -> None:
        if upload_id is None:
            self._own.strangers = (self._own.strangers or 0) + 1
        self._findings.add_stranger(Stranger(account=self._account.name, object_key=object_key, upload_id=upload_id))

    async def _left(self, object_key: str, file_id: str, *, known: bool, trusted: bool) -> None:
        """Raises `AccountError` if the account does not answer any more."""
        self._own.left = (self._own.left or 0) + 1
        why = "is of a file that was erased" if known else "is of a file that the ledger does not know"
        became = "left"
        if self._clean and not trusted:
            why += "; not removed: it may be one that the ledger lost. See `manage.py ledger rebuild`"
        elif self._clean and self._dry_run:
            became = "removed"
        elif self._clean:
            try:
                await self._inventory.remove(object_key, file_id)
                became = "removed"
            except AccountError as error:
                if error.retryable:
                    raise
                why += f"; not removed: {error.detail}"
        self._tell(object_key, "left_behind", became, why, file_id)

    async def _left_open(self, judged: Judged) -> None:
        """Raises `AccountError` if the account does not answer any more."""
        self._own.uploads_left = (self._own.uploads_left or 0) + 1
        met, became, why = judged.met, "left", f"an upload of ours is open: {judged.met.upload_id}"
        if self._clean and not self._dry_run:
            try:
                await self._abort(judged)
                became = "removed"
            except AccountError as error:
                if error.retryable:
                    raise
                why += f"; not aborted: {error.detail}"
        elif self._clean:
            became = "removed"
        self._tell(met.object_key, "upload_left_open", became, why)

    async def _abort(self, judged: Judged) -> None:
        met = judged.met
        if judged.noted:
            await self._inventory.abort(met.object_key, met.upload_id)
            await self._acquaintance.aborted(self._account.name, met.upload_id)
        elif judged.since is not None and judged.until is not None:
            await self._inventory.abort_lost(met.object_key, since=judged.since, until=judged.until)

    def _tell(self, object_key: str, code: str, became: str, detail: str, file_id: str | None = None) -> None:
        self._findings.add_problem(
            Problem(
                account=self._account.name,
                object_key=object_key,
                code=code,
                became=became,
                detail=detail,
                file_id=file_id,
            )
        )

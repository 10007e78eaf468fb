"""Orphans: objects and open uploads in an account that belong to no replica in the ledger.

The account is listed first; then each key is looked up in the ledger.
- An object without a file's id, one of another installation, and an owner's own copy of ours is reported as an unknown
  object, and never removed.
- An object of a file that was erased or never acknowledged was left behind: `clean` removes it by that file's id.
- An object of this installation, of a file that the ledger does not have, was acknowledged by a later state of the
  ledger: it is reported and never removed, and from then on nothing else is removed.
Leaves to others: replicas (`verify.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from file.audit.findings import Finding, Findings, UnknownObject
from file.audit.verify import together
from file.ledger.audit.known import Fate, JudgedUpload, KnownObjects, Standing
from file.ledger.installations import Installations
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountError, CommandRefusedError
from file.logic.naming import begun_at, can_be_ours
from file.logic.ports import FoundObject, ListedUpload, StorageAccount
from file.logic.values import FILE_ID, FILE_INSTALLATION

_AT_ONCE = 16  # looks per account


class CleaningRefusedError(CommandRefusedError):
    """The ledger is older than the accounts, so nothing may be removed."""

    message = "The ledger is older than the accounts."


@dataclass(eq=False, slots=True)
class Orphans:
    """`clean`: remove what was left behind. Accounts that have an error in `findings` are not listed."""

    known_objects: KnownObjects
    installations: Installations
    registry: Registry
    findings: Findings
    under: str = ""
    clean: bool = False
    dry_run: bool = False
    progress: Callable[[], None] = lambda: None

    async def check(self) -> None:
        """Raises `CleaningRefusedError` if the ledger is known to be behind."""
        if self.clean and (await self.installations.read()).behind_at is not None:
            raise CleaningRefusedError

    async def run(self) -> None:
        """Raises `LedgerUnavailableError`."""
        ours = (await self.installations.read()).ours
        await together(
            [self._walk(s, ours) for s in self.registry.storages if s.account.name in self.findings.accounts]
        )

    async def _walk(self, bucket: StorageAccount, ours: frozenset[str]) -> None:
        own = self.findings.accounts[bucket.account.name]
        if own.error is not None:
            return
        own.is_listed = True
        walk = _Walk(self, bucket, ours)
        try:
            async with aclosing(bucket.pages(self.under)) as pages:
                async for keys in pages:
                    if await walk.objects(keys) and not self.dry_run:
                        await self.installations.mark_behind()
                    self.progress()
            async with aclosing(bucket.open_uploads(self.under)) as uploads:
                async for page in uploads:
                    await walk.uploads(page)
        except AccountError as error:
            own.error = error


class _Walk:
    """Reads the listing of one account. `ours`: the installations whose objects are ours."""

    def __init__(self, orphans: Orphans, bucket: StorageAccount, ours: frozenset[str]) -> None:
        self._known_objects = orphans.known_objects
        self._ours = ours
        self._bucket = bucket
        self._account = bucket.account
        self._findings = orphans.findings
        self._own = orphans.findings.accounts[bucket.account.name]
        self._clean = orphans.clean
        self._dry_run = orphans.dry_run
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def objects(self, object_keys: Sequence[str]) -> bool:
        """One page. Returns whether an object in it shows that the ledger is behind. Raises `AccountError`."""
        self._own.objects += len(object_keys)
        known = await self._known_objects.known(self._account, object_keys)
        carrying: list[tuple[str, FoundObject]] = []
        await together([self._look(key, carrying) for key in object_keys if key not in known])
        ids = {found.metadata[FILE_ID] for _, found in carrying}
        fates = await self._known_objects.fates(ids) if ids else {}
        # First what says that the ledger is behind: then the rest of the page is not removed either.
        signs = [
            self._not_in_ledger(object_key, found)
            for object_key, found in carrying
            if found.metadata[FILE_ID] not in fates
        ]
        for object_key, found in carrying:
            fate = fates.get(found.metadata[FILE_ID])
            if fate is Fate.KEPT:  # an owner's copy, under another key or in an account that shall not have it
                self._unknown(object_key)
            elif fate is Fate.GONE:
                await self._left(object_key, found.metadata[FILE_ID])
        return any(signs)

    async def uploads(self, page: Sequence[ListedUpload]) -> None:
        """One page. Raises `AccountError`."""
        self._own.open_uploads += len(page)
        for judged in await self._known_objects.judge_uploads(self._account, page):
            if judged.standing is Standing.UNKNOWN:
                self._unknown(judged.upload.object_key, judged.upload.upload_id)
            elif judged.standing is Standing.LEFT:
                await self._left_open(judged)

    async def _look(self, object_key: str, carrying: list[tuple[str, FoundObject]]) -> None:
        if not can_be_ours(object_key.removeprefix(self._account.prefix)):
            self._unknown(object_key)
            return
        async with self._slots:
            try:
                found = await self._bucket.look(object_key)
            except AccountError as error:
                if error.retryable:  # it was asked again and again
                    raise
                self._tell(object_key, error.code, "not_looked_at", error.detail)
                self._own.unanswered += 1
                return
        if found is None:  # gone since it was listed
            return
        if begun_at(found.metadata.get(FILE_ID, "")) is None:
            self._unknown(object_key)
        else:
            carrying.append((object_key, found))

    def _not_in_ledger(self, object_key: str, found: FoundObject) -> bool:
        """Reports an object without a file in the ledger. Returns whether it shows that the ledger is behind."""
        is_sign = False
        file_id, installation = found.metadata[FILE_ID], found.metadata.get(FILE_INSTALLATION)
        if installation is None:
            self._findings.has_unclaimed = True
            why = "names a file that the ledger does not know, and no installation"
        elif installation in self._ours:
            is_sign = self._findings.is_behind = True  # from now on nothing is removed in any account
            why = "this installation wrote it, and the ledger does not know its file"
        else:
            self._unknown(object_key, installation=installation)
            return False
        self._own.not_in_ledger += 1
        self._tell(object_key, "not_in_ledger", "left", why, file_id)
        return is_sign

    def _unknown(self, object_key: str, upload_id: str | None = None, installation: str | None = None) -> None:
        name = self._account.name
        self._findings.add_unknown(
            UnknownObject(account=name, object_key=object_key, upload_id=upload_id, installation=installation)
        )

    async def _left(self, object_key: str, file_id: str) -> None:
        """Raises `AccountError` if the account no longer answers."""
        self._own.left_behind += 1
        became, why_not = await self._removed(lambda: self._bucket.remove(object_key, file_id))
        why = f"is of a file that was erased or given up{why_not and f'; not removed: {why_not}'}"
        self._tell(object_key, "left_behind", became, why, file_id)

    async def _left_open(self, judged: JudgedUpload) -> None:
        """Raises `AccountError` if the account no longer answers."""
        self._own.uploads_left_open += 1
        became, why_not = await self._removed(lambda: self._abort(judged))
        why = f"an upload of ours is open: {judged.upload.upload_id}{why_not and f'; not aborted: {why_not}'}"
        self._tell(judged.upload.object_key, "upload_left_open", became, why)

    async def _removed(self, remove: Callable[[], Awaitable[object]]) -> tuple[str, str]:
        """Removes what was left behind. Returns the result, and why the account refused."""
        if not self._clean or self._findings.is_behind:
            return "left", ""
        if not self._dry_run:
            try:
                await remove()
            except AccountError as error:
                if error.retryable:
                    raise
                return "left", error.detail
        return "removed", ""

    async def _abort(self, judged: JudgedUpload) -> None:
        upload = judged.upload
        if judged.noted:
            await self._bucket.abort(upload.object_key, upload.upload_id)
            await self._known_objects.aborted(self._account.name, upload.upload_id)
        elif judged.since is not None and judged.until is not None:
            await self._bucket.abort_lost(upload.object_key, since=judged.since, until=judged.until)

    def _tell(self, object_key: str, code: str, became: str, detail: str, file_id: str | None = None) -> None:
        name = self._account.name
        self._findings.add(
            Finding(code=code, account=name, key=object_key, detail=detail, became=became, file_id=file_id)
        )

"""Rebuild: restores files and replicas from the objects in the accounts and their metadata.

Rows of the ledger never change, except that a `pending` replica of an acknowledged file becomes `stored` if its object
exists. So a rebuild may run on an older copy of the ledger, beside the service, and again. A file that an account lacks
is `partial`, and that replica is `pending` and due. Reported and not restored are:
- contradictions: copies that differ, two files under one key, one file under several keys;
- objects of other installations, unless they are to be adopted;
- a file that lacks a copy in an account whose name cannot be found, unless it may go without that copy.
Leaves to others: finding the objects (`inventory.py`), their metadata (`restore.py`), and making copies (catch-up).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from file.audit.compare import digests_of_object
from file.audit.findings import AccountFindings, Finding, RebuildFindings, UnknownObject
from file.audit.inventory import FoundCopy, Inventory, scratch_inventory, take_inventory
from file.audit.restore import Wanted, WantedAccounts, contradiction, copy_of, digests_in, restored
from file.ledger.accounts.accountstates import all_names
from file.ledger.audit.rebuild import NOTHING_KNOWN, Known, Restoration, RestoredFile
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import NO_INSTALLATION, Installations
from file.ledger.states import ACKNOWLEDGED
from file.logic.accounts.hashes import AccountHashes
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountError, AccountUnreachableError, ReplicaMissingError
from file.logic.naming import begun_at
from file.logic.values import FILE_ID, Digests, FileState, ReplicaState, checksum_text

Copies = Sequence[FoundCopy]  # of one file
_BATCH = 500  # copies
_READ_AT_ONCE = 4
# An upload may have been rolled back between our look and the ledger's answer. None lasts longer: the lifecycle rule of
# docs/operations.md ends open uploads after two days.
_MAY_BE_UNDER_WAY = timedelta(days=3)


class Rebuild:
    """`alias`: the database's; None if a dry run has no ledger yet. `progress` gets the growing findings.

    `adopted`: installations whose objects become ours; `NO_INSTALLATION` for objects without an id.
    `older_copy`: the ledger is a copy that replaced a later one; uploads that were under way when it was made may have
    been acknowledged since.
    `hashes`: find accounts among the configured names, the names in the ledger, and `former`.
    `without_unknown`: restore also files that name other accounts, without those copies.
    """

    def __init__(
        self,
        alias: str | None,
        registry: Registry,
        *,
        hashes: AccountHashes,
        former: Sequence[str] = (),
        without_unknown: bool = False,
        adopted: Sequence[str] = (),
        older_copy: bool = False,
        dry_run: bool = False,
        progress: Callable[[RebuildFindings], None] = lambda findings: None,
    ) -> None:
        self._alias = alias
        self._registry = registry
        self._wanted = WantedAccounts(hashes, [*registry.names, *former])
        self._without_unknown = without_unknown
        self._adopted = adopted
        self._older_copy = older_copy
        self._dry_run = dry_run
        self._findings = RebuildFindings({name: AccountFindings() for name in registry.names})
        self._progress: Callable[[], None] = lambda: progress(self._findings)
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)

    async def run(self) -> RebuildFindings:
        """Raises `LedgerUnavailableError`, and `sqlite3.Error` of the scratch file; restored files stay."""
        threads = ReadingThreads(self._alias or "", count=1)
        try:
            ledger = None if self._alias is None else Restoration(threads, self._alias, self._registry)
            if self._older_copy and ledger is not None and not self._dry_run:
                await ledger.forget_received()
            with scratch_inventory(await self._ours(threads)) as inventory:
                await take_inventory(self._registry.storages, inventory, self._findings, self._progress)
                for files in _batches(inventory.files()):
                    await self._restore(files, inventory, ledger)
                    self._progress()
            if self._alias is not None and not self._dry_run and self._findings.is_level:
                await Installations(threads, self._alias).mark_level(self._findings.behind_at)
        finally:
            await threads.close()
        return self._findings

    async def _ours(self, threads: ReadingThreads) -> frozenset[str]:
        """The installations whose objects are ours."""
        if self._alias is None:
            return frozenset(self._adopted)
        installations = Installations(threads, self._alias)
        if not self._dry_run:
            await installations.adopt([each for each in self._adopted if each != NO_INSTALLATION])
        self._wanted.know(await threads.run(all_names, self._alias))
        ownership = await installations.read()
        self._findings.behind_at = ownership.behind_at
        return ownership.ours | frozenset(self._adopted)

    async def _restore(self, files: Sequence[Copies], inventory: Inventory, ledger: Restoration | None) -> None:
        keys = {copy.key for copies in files for copy in copies}
        rivals = inventory.files_under(keys)
        refusals = inventory.refusals_under(keys)
        ids = {copies[0].file_id for copies in files}.union(*rivals.values())
        known = NOTHING_KNOWN if ledger is None else await ledger.known(ids, keys)
        there: list[FoundCopy] = []
        new: list[tuple[Copies, Wanted]] = []
        for copies in files:
            first = copies[0]
            if first.file_id in known.files:
                there += self._pending_that_are_there(known, copies)
            elif first.file_id in known.given_up:
                self._findings.left_alone += 1
            elif not inventory.are_ours(copies):
                self._leave_to_others(copies, inventory)
            elif found := contradiction(copies, known, rivals[first.key]):
                self._tell(found[0], first, found[1])
            elif self._may_be_restored(wanted := self._wanted.of(copies)):
                new.append((copies, wanted))
        made = await asyncio.gather(*(self._make(copies, wanted, refusals) for copies, wanted in new))
        ready = [file for file in made if file]
        if ledger is not None and not self._dry_run:
            await self._write(ledger, ready, there)
        else:
            self._findings.count(ready, settled=len(there))

    async def _write(self, ledger: Restoration, files: Sequence[RestoredFile], there: Sequence[FoundCopy]) -> None:
        """Another process may have used a key meanwhile."""
        written, settled = await ledger.write(files, [(copy.file_id, copy_of(copy)) for copy in there])
        for file in files:
            if file.id not in written:
                detail = "has a key that was taken in the meantime"
                self._findings.add(Finding(code="key_taken", account="", key=file.key, detail=detail, file_id=file.id))
        self._findings.count([file for file in files if file.id in written], settled=settled)

    def _pending_that_are_there(self, known: Known, copies: Copies) -> Iterator[FoundCopy]:
        """For a file in the ledger."""
        file_id = copies[0].file_id
        file, replicas = known.files[file_id], known.replicas.get(file_id, {})
        if file.state not in ACKNOWLEDGED:
            self._findings.left_alone += 1
            self._findings.received += file.state == FileState.RECEIVING
            return
        self._findings.known += 1
        for copy in copies:
            found = copy.found
            checksum = None if found.crc64nvme is None else checksum_text(found.crc64nvme)
            if copy.key != file.key or copy.account not in replicas:  # an owner's own copy
                self._unknown(copy)
            elif found.size != file.size or checksum not in (None, file.crc64nvme):
                self._tell("copies_differ", copy, "is not what the ledger says", account=copy.account)
            elif replicas[copy.account] == ReplicaState.PENDING:
                yield copy

    def _leave_to_others(self, copies: Copies, inventory: Inventory) -> None:
        """A file of another installation that is not in the ledger."""
        if any(map(inventory.is_ours, copies)):
            self._tell("installations_differ", copies[0], "has copies of this installation and of another one")
        for copy in copies:
            self._unknown(copy)
            self._findings.others[copy.installation] += 1

    def _may_be_restored(self, wanted: Wanted) -> bool:
        """A copy in an account without a known name would never be made."""
        self._findings.foreign += wanted.is_foreign
        if wanted.unknown and self._without_unknown:
            self._findings.without_accounts += 1
        elif wanted.unknown:
            self._findings.unknown_accounts += 1
        return self._without_unknown or not wanted.unknown

    async def _make(self, copies: Copies, wanted: Wanted, refusals: dict[tuple[str, str], str]) -> RestoredFile | None:
        """A new file. None: the reason is reported."""
        failed: dict[str, str] = {}
        begun = begun_at(copies[0].file_id)
        if begun is not None and begun > datetime.now(UTC) - _MAY_BE_UNDER_WAY:
            copies = [copy for copy in copies if await self._is_still_there(copy, failed)]
        digests = await self._digests(copies) if copies else None
        if digests is None:
            return None

        def why_missing(account: str) -> str:
            if self._registry.account(account) is None:
                error = AccountUnreachableError(account, "list_objects", "is named by files, and is not configured")
                self._findings.accounts.setdefault(account, AccountFindings(error=error))
            if (listed := self._findings.accounts[account].error) is not None:
                return listed.code
            return failed.get(account) or refusals.get((account, copies[0].key)) or ReplicaMissingError.code

        return restored(copies, digests, wanted.names, why_missing)

    async def _is_still_there(self, copy: FoundCopy, failed: dict[str, str]) -> bool:
        try:
            found = await self._registry.storage(copy.account).look(copy.found.stored.object_key)
        except AccountError as error:
            failed[copy.account] = error.code
            self._tell("not_looked_at", copy, error.detail, account=copy.account)
            return False
        return found is not None and found.metadata.get(FILE_ID) == copy.file_id

    async def _digests(self, copies: Copies) -> Digests | None:
        """From the metadata of the objects; if that is incomplete, from the bytes of one object."""
        size = copies[0].found.size
        sha256, checksum = digests_in(copies)
        if sha256 is not None and checksum is not None:
            return Digests(size, sha256, checksum)
        self._findings.hashed += 1
        if self._dry_run:
            return Digests(size, sha256 or b"", checksum or 0)
        errors = []
        for copy in copies:
            try:
                async with self._reading:
                    storage = self._registry.storage(copy.account)
                    read = await digests_of_object(storage, copy.found.stored, copy.file_id, copy.found.size)
            except AccountError as error:
                errors.append(error.detail)
                continue
            if sha256 not in (None, read.sha256) or checksum not in (None, read.crc64nvme):
                self._tell("digest_mismatch", copy, "gave other bytes than it says", account=copy.account)
                return None
            self._progress()
            return read
        self._tell("file_unreadable", copies[0], "cannot be read: " + " ".join(errors))
        return None

    def _unknown(self, copy: FoundCopy) -> None:
        self._findings.accounts[copy.account].ours -= 1
        self._findings.add_unknown(UnknownObject(account=copy.account, object_key=copy.found.stored.object_key))

    def _tell(self, code: str, copy: FoundCopy, detail: str, *, account: str = "") -> None:
        self._findings.add(Finding(code=code, account=account, key=copy.key, detail=detail, file_id=copy.file_id))


def _batches(files: Iterator[Copies]) -> Iterator[Sequence[Copies]]:
    """Batches by copies: a query is limited for any number of copies of a file."""
    batch: list[Copies] = []
    for copies in files:
        batch.append(copies)
        if sum(map(len, batch)) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch

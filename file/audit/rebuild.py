"""The ledger from what lies in the accounts: files and replicas, by what each object says of itself.

Promises: what the ledger has is never changed, except that a `pending` replica of an acknowledged file which is there
becomes `stored`; so this may run on an older copy, beside the service, and again. What contradicts itself is told and
not restored: copies that differ, two files under one key, one file under several. A file that an account lacks is
`partial`, that account's replica `pending` and due. Objects of other installations are told and not restored, unless
they are to be adopted. A file with a missing copy in an account that cannot be told by name is told and not restored,
unless it may go without that copy. Leaves to others: finding (`inventory.py`), bringing (catch-up).
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from awscrt.checksums import crc64nvme

from file.audit.inventory import AccountFindings, Findings, Problem, Sighting, Sightings, scratch, survey
from file.audit.restoring import copy_of, restored, sha256_of
from file.audit.wanted import Wanted, WantedAccounts
from file.ledger.accounts.accountstates import all_names
from file.ledger.audit.rebuild import NOTHING_KNOWN, Known, Restoration, RestoredFile
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import NO_INSTALLATION, Installations
from file.ledger.states import ACKNOWLEDGED
from file.logic.accounts.hashes import AccountHashes
from file.logic.errors import AccountError, AccountUnreachableError, ReplicaMissingError
from file.logic.naming import begun_at
from file.logic.ports import StorageAccount
from file.logic.values import FILE_ID, Digests, FileState, ReplicaState, checksum_text

_BATCH = 500  # sightings
_READ_AT_ONCE = 4
# An upload may have been taken back between our look and the ledger's answer. None lasts longer: the lifecycle rule of
# docs/operations.md ends open uploads after two days.
_MAY_BE_UNDER_WAY = timedelta(days=3)


class Rebuild:
    """`alias` is the database's; None if there is no ledger yet, for a dry run. `told` sees the findings grow.

    `adopted`: installations whose objects become ours; `NO_INSTALLATION` for objects that carry no id.
    `older_copy`: the ledger is a copy that took the place of a later one; what was being received when it was made may
    have been acknowledged since.
    `hashes`: what stands in objects for the accounts' names. Those that are known: of the accounts that are configured,
    of those that the ledger names, and `former`. `without_unknown`: restore also what names others, without those.
    """

    def __init__(
        self,
        alias: str | None,
        accounts: Sequence[StorageAccount],
        *,
        hashes: AccountHashes,
        former: Sequence[str] = (),
        without_unknown: bool = False,
        adopted: Sequence[str] = (),
        older_copy: bool = False,
        dry_run: bool = False,
        told: Callable[[Findings], None] = lambda findings: None,
    ) -> None:
        self._alias = alias
        self._buckets = {bucket.account.name: bucket for bucket in accounts}
        self._places = {bucket.account.name: bucket.account for bucket in accounts}
        self._wanted = WantedAccounts(hashes)
        self._wanted.know(self._places)
        self._wanted.know(former)
        self._without_unknown = without_unknown
        self._adopted = adopted
        self._older_copy = older_copy
        self._dry_run = dry_run
        self._findings = Findings({name: AccountFindings() for name in self._buckets})
        self._show = told
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)

    async def run(self) -> Findings:
        """Raises `LedgerUnavailableError`, and `sqlite3.Error` of the scratch file; what was restored stays."""
        threads = ReadingThreads(self._alias or "", count=1)
        try:
            if self._older_copy and self._alias is not None and not self._dry_run:
                await Restoration(threads, self._alias, self._places).forget_received()
            with scratch(await self._ours(threads)) as sightings:
                await survey(list(self._buckets.values()), sightings, self._findings, self._told)
                for files in _batches(sightings.files()):
                    await self._restore(files, sightings, threads)
                    self._told()
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

    async def _restore(self, files: Sequence[list[Sighting]], sightings: Sightings, threads: ReadingThreads) -> None:
        keys = {sighting.key for file in files for sighting in file}
        rivals = sightings.files_under(keys)
        refusals = sightings.refusals_under(keys)
        ids = {file[0].file_id for file in files}.union(*rivals.values())
        ledger = None if self._alias is None else Restoration(threads, self._alias, self._places)
        known = NOTHING_KNOWN if ledger is None else await ledger.known(ids, keys)
        there: list[Sighting] = []
        new: list[tuple[list[Sighting], Wanted]] = []
        for file in files:
            if file[0].file_id in known.files:
                there += self._pending_that_are_there(known, file)
            elif file[0].file_id in known.given_up:
                self._findings.left_alone += 1
            elif not sightings.are_ours(file):
                self._leave_to_others(file, sightings)
            elif self._is_sound(known, file, rivals):
                wanted = self._wanted.of(file)
                if self._may_be_restored(wanted):
                    new.append((file, wanted))
        made = await asyncio.gather(*(self._make(file, wanted, refusals) for file, wanted in new))
        ready = [one for one in made if one is not None]
        if ledger is not None and not self._dry_run:
            ready = await self._write(ledger, ready, there)
        else:
            self._findings.settled += len(there)
        for one in ready:
            self._count(one)

    async def _write(
        self, ledger: Restoration, made: Sequence[RestoredFile], there: Sequence[Sighting]
    ) -> list[RestoredFile]:
        """Returns what is in now: another process may have taken a key since we asked."""
        written, settled = await ledger.write(made, [(sighting.file_id, copy_of(sighting)) for sighting in there])
        self._findings.settled += settled
        for one in made:
            if one.id not in written:
                detail = "has a key that was taken in the meantime"
                self._findings.add_problem(Problem("key_taken", one.key, one.id, "", detail))
        return [one for one in made if one.id in written]

    def _pending_that_are_there(self, known: Known, sightings: Sequence[Sighting]) -> Iterator[Sighting]:
        """Of a file that the ledger has."""
        file_id = sightings[0].file_id
        file, replicas = known.files[file_id], known.replicas.get(file_id, {})
        if file.state not in ACKNOWLEDGED:
            self._findings.left_alone += 1
            self._findings.received += file.state == FileState.RECEIVING
            return
        self._findings.known += 1
        for sighting in sightings:
            found = sighting.found
            if sighting.key != file.key or sighting.account not in replicas:
                self._findings.accounts[sighting.account].ours -= 1
                self._findings.add_stranger(sighting.account, found.stored.object_key)  # an owner's own copy
            elif found.size != file.size or _text(found.crc64nvme) not in (None, file.crc64nvme):
                self._tell("copies_differ", sighting, "is not what the ledger says", account=sighting.account)
            elif replicas[sighting.account] == ReplicaState.PENDING:
                yield sighting

    def _leave_to_others(self, file: Sequence[Sighting], sightings: Sightings) -> None:
        """Of another installation; the ledger does not have it."""
        if any(map(sightings.is_ours, file)):
            self._tell("installations_differ", file[0], "has copies of this installation and of another one")
        for sighting in file:
            self._findings.accounts[sighting.account].ours -= 1
            self._findings.add_stranger(sighting.account, sighting.found.stored.object_key)
            others = self._findings.others
            others[sighting.installation] = others.get(sighting.installation, 0) + 1

    def _is_sound(self, known: Known, file: Sequence[Sighting], rivals: dict[str, set[str]]) -> bool:
        """Of a file that the ledger does not have. Tells what is wrong."""
        first = file[0]
        keys = sorted({sighting.key for sighting in file})
        others = rivals[first.key] - {first.file_id}
        # What the ledger has as erased, or is about to remove, is no rival.
        others -= {rival for rival in others if rival in known.files and rival not in known.holders.values()}
        others -= known.given_up
        checksums = {sighting.found.crc64nvme for sighting in file} - {None}
        hashes = {sha256_of(sighting) for sighting in file} - {None}
        if len(keys) > 1:
            self._tell("file_copied", first, f"lies under several keys: {', '.join(keys[:3])}")
        elif known.holders.get(first.key, first.file_id) != first.file_id:
            self._tell("key_taken", first, "has the key of another file that is in the ledger")
        elif others:
            self._tell(
                "key_contested", first, f"has a key under which other files lie, too: {', '.join(sorted(others)[:3])}"
            )
        elif len({sighting.found.size for sighting in file}) > 1 or len(checksums) > 1 or len(hashes) > 1:
            self._tell("copies_differ", first, "has other bytes in one account than in another")
        else:
            return True
        return False

    def _may_be_restored(self, wanted: Wanted) -> bool:
        """A copy that an account lacks would be forgotten, if the account cannot be told by name."""
        self._findings.foreign += wanted.is_foreign
        if not wanted.unknown:
            return True
        if self._without_unknown:
            self._findings.without_accounts += 1
        else:
            self._findings.unknown_accounts += 1
        return self._without_unknown

    async def _make(
        self, file: Sequence[Sighting], wanted: Wanted, refusals: dict[tuple[str, str], str]
    ) -> RestoredFile | None:
        """A new file, or None, having told why."""
        failed: dict[str, str] = {}
        begun = begun_at(file[0].file_id)
        if begun is not None and begun > datetime.now(UTC) - _MAY_BE_UNDER_WAY:
            file = [sighting for sighting in file if await self._is_still_there(sighting, failed)]
            if not file:
                return None
        digests = await self._digests(file)
        if digests is None:
            return None

        def why_missing(account: str) -> str:
            if account not in self._places:
                why = "is named by files, and is not configured"
                error: AccountError = AccountUnreachableError(account, "list_objects", why)
                self._findings.accounts.setdefault(account, AccountFindings(error=error))
            listed = self._findings.accounts[account].error
            if listed is not None:
                return listed.code
            return failed.get(account) or refusals.get((account, file[0].key)) or ReplicaMissingError.code

        return restored(file, digests, wanted.names, why_missing)

    async def _is_still_there(self, sighting: Sighting, failed: dict[str, str]) -> bool:
        try:
            found = await self._buckets[sighting.account].look(sighting.found.stored.object_key)
        except AccountError as error:
            failed[sighting.account] = error.code
            self._tell("not_looked_at", sighting, error.detail, account=sighting.account)
            return False
        return found is not None and found.metadata.get(FILE_ID) == sighting.file_id

    async def _digests(self, file: Sequence[Sighting]) -> Digests | None:
        """As the objects say; where they do not say all of it, of the bytes of one of them."""
        size = file[0].found.size
        sha256 = next((known for sighting in file if (known := sha256_of(sighting))), None)
        checksum = next((s.found.crc64nvme for s in file if s.found.crc64nvme is not None), None)
        if sha256 is not None and checksum is not None:
            return Digests(size, sha256, checksum)
        self._findings.hashed += 1
        if self._dry_run:
            return Digests(size, sha256 or b"", checksum or 0)
        errors = []
        for sighting in file:
            try:
                async with self._reading:
                    read = await self._read(sighting)
            except AccountError as error:
                errors.append(error.detail)
                continue
            if sha256 not in (None, read.sha256) or checksum not in (None, read.crc64nvme):
                self._tell("digest_mismatch", sighting, "gave other bytes than it says", account=sighting.account)
                return None
            self._told()
            return read
        self._tell("file_unreadable", file[0], "cannot be read: " + " ".join(errors))
        return None

    async def _read(self, sighting: Sighting) -> Digests:
        size, sha256, checksum = sighting.found.size, hashlib.sha256(), 0
        source = self._buckets[sighting.account]
        stored = sighting.found.stored
        async with source.read(stored, file_id=sighting.file_id, start=0, stop=size, size=size) as pieces:
            async for piece in pieces:
                sha256.update(piece)
                checksum = crc64nvme(piece, checksum)
        return Digests(size, sha256.digest(), checksum)

    def _told(self) -> None:
        self._show(self._findings)

    def _tell(self, code: str, sighting: Sighting, detail: str, *, account: str = "") -> None:
        self._findings.add_problem(Problem(code, sighting.key, sighting.file_id, account, detail))

    def _count(self, one: RestoredFile) -> None:
        if one.missing:
            self._findings.partial += 1
        else:
            self._findings.stored += 1
        for account in one.missing:
            self._findings.accounts[account].missing += 1


def _batches(files: Iterator[list[Sighting]]) -> Iterator[list[list[Sighting]]]:
    """By sightings: what is asked of a database in one query is bounded, however often a file was copied."""
    batch: list[list[Sighting]] = []
    for file in files:
        batch.append(file)
        if sum(map(len, batch)) >= _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _text(checksum: int | None) -> str | None:
    return None if checksum is None else checksum_text(checksum)

"""The ledger's writers in any order: each change of a state is drawn in `states.py`, and in the end all is settled."""

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain

import pytest

from file.ledger.accounts import presence
from file.ledger.accounts.backfill import backfill, unretire
from file.ledger.accounts.retirement import RetirementRefusedError, forget_unplaced, retire
from file.ledger.audit.rebuild import Copy, Restoration, RestoredFile
from file.ledger.audit.replicas import MISSING, REPLACED, Replicas
from file.ledger.audit.verification import Verification
from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.database.threads import ReadingThreads
from file.ledger.work.claims import Claims, Due
from file.ledger.work.results import Results
from file.logic.accounts.placement import Placement
from file.logic.accounts.registry import Registry
from file.logic.errors import AccessRefusedError, AccountUnreachableError, KeyOccupiedError, UploadError
from file.logic.naming import new_file_id
from file.logic.values import Account, Ack, Digests, Intent, Place, ReplicaState, Stored
from file.models import File, Replica
from tests.intents import ACCOUNTS, PREFIX, failed, intent, pending, receipt, stored
from tests.unit.ledger.looking import ask, erasures_of, ledger_on
from tests.unit.ledger.statetable import STATES, Log, all_drawn, logging

STEPS = 250
ERRORS = (AccountUnreachableError("A", "put"), AccessRefusedError("A", "put"), KeyOccupiedError("A", "put"))
PLACES = {
    name: Account(
        name=name, access_key_id="id", secret_access_key="secret", region_name="eu-west-1",
        s3_bucket_name=f"bucket-{name.lower()}", prefix=PREFIX,
    )
    for name in ACCOUNTS
}  # fmt: skip


class Driver:
    """Calls the ledger's writers as the service and the commands do, at random."""

    def __init__(self, database: str, ledger: DatabaseLedger, threads: ReadingThreads, log: Log, seed: int) -> None:
        self._database, self._ledger, self._threads, self._log = database, ledger, threads, log
        self._random = random.Random(seed)  # noqa: S311 - a test
        self._claims = Claims(ledger.writer, database, under_way=(), claim_seconds=30)
        self._results = Results(ledger.writer, database, settle_seconds=0)
        self._received: list[Intent] = []
        self._followed: list[tuple[str, Place]] = []
        self._claimed: list[Due] = []
        self.steps: Sequence[Callable[[], Awaitable[object]]] = [
            self.intend, self.intend, self.intend, self.conclude, self.conclude, self.conclude, self.fail, self.follow,
            self.take_over, self.claim, self.claim, self.settle, self.settle, self.settle, self.clean, self.erase,
            self.block, self.release, self.retire, self.return_and_backfill, self.verify, self.verify, self.rebuild,
        ]  # fmt: skip

    async def step(self) -> None:
        with suppress(UploadError, RetirementRefusedError):
            await self._random.choice(self.steps)()

    @property
    def account(self) -> str:
        return self._random.choice(ACCOUNTS)

    async def make_due(self) -> None:
        await ask(
            self._database,
            lambda: self._log.execute(
                "UPDATE file_replica SET due_at = '2020-01-01 00:00:00' WHERE due_at IS NOT NULL"
            ),
        )

    async def expire(self) -> None:
        statement = "UPDATE file_file SET lease_until = '2020-01-01 00:00:00' WHERE lease_until IS NOT NULL"
        await ask(self._database, lambda: self._log.execute(statement))

    # --- an upload

    async def intend(self) -> None:
        part_size = self._random.choice((None, 8))
        wanted = intent(f"k{self._random.randrange(5)}", part_size=part_size)
        if await self._ledger.intend(wanted) is None:
            self._received.append(wanted)
            if part_size:
                self._ledger.begun(wanted.id, self.account, self._random.choice((None, "u")))

    def _one_received(self) -> Intent:
        if not self._received:
            raise KeyOccupiedError("A", "put")  # nothing to do
        return self._received.pop(self._random.randrange(len(self._received)))

    async def conclude(self) -> None:
        wanted = self._one_received()
        behind = self._random.choice(("", "", "C", "BC"))
        if await self._ledger.conclude(receipt(wanted, behind=behind)):
            self._followed += [(wanted.id, place) for place in wanted.places if place.account in behind]

    async def fail(self) -> None:
        wanted = self._one_received()
        of = receipt(wanted, gone="ABC", left=self._random.choice(("", "B", "AC")))
        if self._random.random() < 0.3:
            outcomes = tuple(failed(place, unanswered=place.account == "B") for place in wanted.places)
            of = replace(of, outcomes=outcomes)
        await self._ledger.conclude(of)

    async def follow(self) -> None:
        if self._followed:
            file_id, place = self._followed.pop(self._random.randrange(len(self._followed)))
            outcomes = (stored(place), pending(place, code="let_go"), pending(place, code="refused", retryable=False))
            await self._ledger.follow(file_id, self._random.choice(outcomes))

    # --- work

    async def take_over(self) -> None:
        await self.expire()
        await self._claims.take_over()

    async def claim(self) -> None:
        await self.make_due()
        state = self._random.choice((ReplicaState.PENDING, ReplicaState.ERASING))
        self._claimed += await self._claims.claim(self.account, state, 4)

    async def settle(self) -> None:
        if not self._claimed:
            return
        due = self._claimed.pop(self._random.randrange(len(self._claimed)))
        if due.state is ReplicaState.ERASING and self._random.random() < 0.7:
            await self._results.gone(due, strangers=self._random.randrange(2))
            return
        has_it = stored(Place(due.account, due.bucket, due.object_key))
        await self._random.choice(
            (
                partial(self._results.found, due, has_it),
                partial(self._results.failed, due, self._random.choice(ERRORS)),
                partial(self._results.end_claim, due),
                partial(self._results.give_up, due),
                partial(self._claims.hold, due),
            )
        )()

    async def clean(self) -> None:
        """Everything that is to be removed from one account, or from all."""
        for account in ACCOUNTS if self._random.random() < 0.5 else (self.account,):
            for _ in range(3):
                await self.make_due()
                for due in await self._claims.claim(account, ReplicaState.ERASING, 100):
                    await self._results.gone(due)

    async def erase(self) -> None:
        await erasures_of(self._ledger, self._database).begin(f"k{self._random.randrange(5)}")

    # --- accounts

    async def block(self) -> None:
        account = self.account
        await self._ledger.writer.run(lambda: presence.block_missing(self._database, account))
        await self._ledger.writer.run(lambda: presence.mark_erasing(self._database, account, None))

    async def release(self) -> None:
        account = PLACES[self.account]
        if self._random.random() < 0.5:
            await ask(self._database, lambda: presence.retry(self._database, account))
        await self._ledger.writer.run(lambda: presence.place_unplaced(self._database, account))
        await self._ledger.writer.run(lambda: presence.unblock_missing(self._database, account))

    async def retire(self) -> None:
        account, keeps = self.account, self._random.random() < 0.3
        configured = {"keeps": keeps, "configured": set(ACCOUNTS), "ack": Ack("any")}
        await ask(
            self._database,
            lambda: retire(self._database, account, progress=lambda at: None, **configured),  # type: ignore[arg-type]
        )

    async def return_and_backfill(self) -> None:
        account = PLACES[self.account]
        await ask(self._database, lambda: unretire(self._database, account.name))
        placement = Placement(Registry(PLACES.values()))
        await ask(self._database, lambda: backfill(self._database, placement, account, lambda at: None))

    # --- audit

    async def verify(self) -> None:
        verification = Verification(self._threads, self._database)
        recorded = await Replicas(self._threads, self._database).one(self.account)
        every = [batch async for batch, _ in Replicas(self._threads, self._database).batches(self.account)]
        rows = [row for row in (recorded, *chain.from_iterable(every)) if row is not None]
        if not rows:
            return
        row = self._random.choice(rows)
        if row.state is ReplicaState.BLOCKED and self._random.random() < 0.6:
            if (claim := await verification.begin_removal(row)) is not None:
                await verification.end_removal(row, claim, removed=self._random.random() < 0.7)
        elif self._random.random() < 0.4:
            shown = stored(Place(row.account, row.bucket, row.object_key), version_id=row.version_id)
            await verification.verified([(row, shown)])
        else:
            await verification.demote(row, self._random.choice((MISSING, REPLACED)))

    async def rebuild(self) -> None:
        restoration = Restoration(self._threads, self._database, Registry(PLACES.values()))
        key, now = f"k{self._random.randrange(5)}", datetime.now(UTC)
        has_it = Stored(
            account="A", bucket="bucket-a", object_key=PREFIX + key, etag='"e"', version_id=None, request_id=None
        )
        missing = self._random.choice(({}, {"B": "missing"}, {"Z": "gone"}))
        made = RestoredFile(
            id=new_file_id(), key=key, name=key, content_type="text/plain", content_headers={}, metadata={},
            digests=Digests(3, bytes(32), 7), created_at=now, copies=[Copy(has_it, now)], missing=missing,
        )  # fmt: skip
        await restoration.write([made], [])
        if self._random.random() < 0.1:
            await restoration.forget_received()
        if self._random.random() < 0.3:
            await ask(self._database, lambda: forget_unplaced(self._database, "Z"))

    # --- in the end

    async def settle_all(self) -> None:
        """Nothing is received any more, every account has what it is to have, and nothing else."""
        for name in ACCOUNTS:
            await self._ledger.writer.run(partial(presence.unblock_missing, self._database, PLACES[name]))
        for _ in range(8):
            await self.take_over()
            await self.make_due()
            for name in ACCOUNTS:
                for due in await self._claims.claim(name, ReplicaState.PENDING, 500):
                    await self._results.found(due, stored(Place(name, due.bucket, due.object_key)))
                for due in await self._claims.claim(name, ReplicaState.ERASING, 500):
                    await self._results.gone(due)


def unsettled(database: str) -> dict[str, int]:
    """What is neither where it is to be, nor waits for a person, nor for an account that nobody has."""
    replicas = Replica.objects.using(database).exclude(account="Z")
    files = File.objects.using(database).exclude(replicas__account="Z")
    blocked = files.filter(replicas__state="blocked")
    return {
        "replicas": replicas.filter(state__in=("pending", "erasing")).count(),
        "files": files.filter(state__in=("receiving", "erasing")).count(),
        "partial": files.filter(state="partial").exclude(pk__in=blocked).count(),
        "stored": files.filter(state="stored", replicas__state__in=("pending", "blocked")).count(),
    }


@pytest.mark.parametrize("seed", range(4))
async def test_every_change_of_a_state_is_drawn_and_in_the_end_all_is_settled(sqlite_database: str, seed: int) -> None:
    with logging(sqlite_database) as log:
        async with ledger_on(sqlite_database, settle_seconds=0) as ledger:
            threads = ReadingThreads(sqlite_database, count=1)
            driver = Driver(sqlite_database, ledger, threads, log, seed)
            for _ in range(STEPS):
                await driver.step()
            await driver.settle_all()
            await threads.close()
        for table in STATES:
            assert log.transitions(table) - all_drawn(table) == set()
        assert set((await ask(sqlite_database, partial(unsettled, sqlite_database))).values()) == {0}

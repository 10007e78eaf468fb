"""No write goes to a retired or unknown account, by uploads, catch-up, backfill, verification, or rebuild in any order.

A write is a fault as soon as the service knows of the retirement and has ended earlier work.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from django.db.models.functions import Now
from hypothesis import example, given, settings
from hypothesis import strategies as st

from file.audit.rebuild import Rebuild
from file.ledger import states
from file.ledger.accounts.backfill import backfill, unretire
from file.ledger.accounts.retirement import RetirementRefusedError, retire
from file.ledger.keyed import account_hashes
from file.logic.accounts.placement import Placement
from file.logic.errors import AccountsRefusedError
from file.logic.values import Ack, ObjectDescription, Part, ReplicaState, Stored
from file.models import File, Replica
from testkit.memorybucket import MemoryBucket, MemoryUpload
from tests.buckets import registry_of
from tests.service.receipts import answer_when
from tests.serving import Running, running
from tests.unit.ledger.looking import ask

ACCOUNTS, UNKNOWN = "ABC", "X"
QUICK: dict[str, Any] = {"lease_seconds": 0.6, "settle_seconds": 0.01, "part_size": 64 * 1024, "grace_seconds": 0.05}
SIZES = (10, 150 * 1024)  # one put; an upload of several parts


class GuardedBucket(MemoryBucket):
    """Remembers writes while it `is_closed`."""

    is_closed = False

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.faults_found: list[str] = []

    async def put(self, description: ObjectDescription, part: Part) -> Stored:
        self._guard("put", description)
        return await super().put(description, part)

    async def begin(self, description: ObjectDescription) -> MemoryUpload:
        self._guard("begin", description)
        return await super().begin(description)

    def _guard(self, operation: str, description: ObjectDescription) -> None:
        if self.is_closed:
            self.faults_found.append(f"{operation} of {description.key} into {self.account.name}")


class World:
    """A running service, and each step that may cause a wrong write."""

    def __init__(self, service: Running, client: httpx.AsyncClient, buckets: Sequence[GuardedBucket]) -> None:
        self.service = service
        self.client = client
        self.buckets = {bucket.account.name: bucket for bucket in buckets}
        self.replicas = Replica.objects.using(service.database)
        self.count = 0

    @property
    def retired(self) -> frozenset[str]:
        return self.service.application.uploads.placement.registry.retired

    async def upload(self, names: str | None, ack: str | None, size: int) -> None:
        self.count += 1
        headers = {} if names is None else {"upload-accounts": ",".join(names)}
        headers |= {} if ack is None else {"upload-ack": ack}
        answer = await self.client.put(f"/files/k{self.count}", content=bytes(size), headers=headers)
        assert answer.status_code in (201, 202, 422, 502), answer.text
        if answer.status_code != 422:
            assert not set(answer.json()["accounts"]) & (self.retired | {UNKNOWN})

    async def read(self) -> None:
        listed = (await self.client.get("/files")).json()["files"]
        for file in listed:
            assert (await self.client.get(f"/files/{file['key']}")).status_code in (200, 502)

    async def fail_once(self, name: str) -> None:
        self.buckets[name].faults |= {"drops_connection": 4}

    async def retire(self, name: str, keeps: bool) -> None:
        options: dict[str, Any] = {"configured": ACCOUNTS, "ack": Ack("any"), "progress": lambda _: None}
        try:
            await ask(self.service.database, lambda: retire(self.service.database, name, keeps=keeps, **options))
        except RetirementRefusedError:
            return
        held = self.replicas.filter(states.HELD, account=name)

        async def is_known() -> bool:
            return name in self.retired and not await ask(self.service.database, held.exists)

        await answer_when(is_known, bool)
        self.buckets[name].is_closed = True

    async def fill(self, name: str) -> None:
        """Unlike the command, does not end a retirement first."""
        database, placement = self.service.database, Placement(registry_of(self.buckets.values()))
        try:
            await ask(database, lambda: backfill(database, placement, self.buckets[name].account, lambda _: None))
        except AccountsRefusedError:
            assert name in self.retired

    async def unretire(self, name: str) -> None:
        self.buckets[name].is_closed = False
        await ask(self.service.database, lambda: unretire(self.service.database, name))

        async def is_known() -> bool:
            return name not in self.retired

        await answer_when(is_known, bool)

    async def lose(self, name: str) -> None:
        """The owner deletes everything, and a verification notices it."""
        self.buckets[name].objects.clear()
        stored = self.replicas.filter(account=name, state=ReplicaState.STORED)
        await ask(self.service.database, lambda: states.demote(stored, ReplicaState.PENDING, "replica_missing"))

    async def rebuild(self) -> None:
        """The ledger has lost everything except its installation and its retirements."""
        database = self.service.database
        uploaded = File.objects.using(database).filter(state__in=states.ACKNOWLEDGED)
        await ask(database, uploaded.delete)
        registry = registry_of(self.buckets.values())
        await Rebuild(database, registry, hashes=account_hashes(), former=[UNKNOWN]).run()

    async def make_pending(self, name: str) -> None:
        """As after an upload whose account was late, or by an older release."""
        rows = self.replicas.filter(account=name).exclude(state=ReplicaState.STORED)
        state = {"state": ReplicaState.PENDING, "due_at": Now(), "owner": None}
        await ask(self.service.database, lambda: rows.filter(file__state__in=states.ACKNOWLEDGED).update(**state))


names = st.sampled_from(ACCOUNTS)
steps = st.one_of(
    st.tuples(
        st.just(World.upload),
        st.none() | st.text(ACCOUNTS + UNKNOWN, min_size=1, max_size=3),
        st.sampled_from([None, "any", "quorum", "all", "2"]),
        st.sampled_from(SIZES),
    ),
    st.tuples(st.just(World.retire), names, st.booleans()),
    st.tuples(st.sampled_from([World.fail_once, World.fill, World.unretire, World.lose, World.make_pending]), names),
    st.tuples(st.sampled_from([World.read, World.rebuild])),
)


async def play(played: Sequence[tuple[Any, ...]]) -> list[str]:
    buckets = [GuardedBucket(name) for name in ACCOUNTS]
    async with running(buckets, **QUICK) as service, service.client(verify=False) as client:
        world = World(service, client, buckets)
        await world.upload(None, "any", SIZES[0])
        for step, *arguments in played:
            await step(world, *arguments)
        for name in world.retired:  # so that catch-up would have work
            await world.lose(name)
        lacking = world.replicas.filter(account__in=world.retired, state=ReplicaState.PENDING)
        await answer_when(lambda: ask(service.database, lacking.exists), lambda exists: not exists)
    return [fault for bucket in buckets for fault in bucket.faults_found]


EACH_WAY: list[tuple[Any, ...]] = [
    (World.upload, "BC", "any", SIZES[1]),
    (World.fill, "B"),
    (World.lose, "B"),
    (World.make_pending, "B"),
    (World.rebuild,),
]


@settings(max_examples=10)
@example([(World.retire, "B", True), *EACH_WAY, (World.upload, None, "any", SIZES[1]), *EACH_WAY])
@given(st.lists(steps, min_size=3, max_size=10))
def test_no_byte_gets_to_a_retired_or_unknown_account_by_any_way(played: list[tuple[Any, ...]]) -> None:
    assert asyncio.run(play(played)) == []

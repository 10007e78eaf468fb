"""Presence changes the replicas of accounts that are missing, back, or retired, on both databases."""

from functools import partial

from django.db.models.functions import Now

from file.accounts.presence import Presence
from file.ledger.commit.ledger import DatabaseLedger
from file.logic.accounts.registry import Registry
from file.logic.values import Account, FileState, ReplicaState
from file.models import Replica, RetiredAccount
from testkit.memorybucket import account
from tests.unit.ledger.looking import ask, ledger_on, replicas_in
from tests.unit.ledger.rows import AGO, LATER, PREFIX, change, make_file, states
from tests.unit.ledger.working import claims_of

A, B, C = (account(name, PREFIX) for name in "ABC")


def presence(ledger: DatabaseLedger, database: str, *accounts: Account) -> Presence:
    return Presence(ledger.writer, database, Registry(accounts), pause_seconds=60)


async def in_c(database: str, key: str) -> Replica:
    return (await replicas_in(database, key))["C"]


async def test_replicas_wait_while_their_account_is_missing_and_are_due_when_it_is_back(database: str) -> None:
    await ask(database, partial(three_kinds, database))
    lease_end = (await in_c(database, "free")).due_at
    async with ledger_on(database) as ledger:
        missing = presence(ledger, database, A, B)
        for _ in range(2):  # the second time, and another process, have nothing to do
            await missing.call()
            await presence(ledger, database, A, B).call()
        free, held, erasing = [await in_c(database, key) for key in ("free", "held", "erased")]
        assert (free.state, free.error_code) == ("blocked", "account_missing")
        assert (held.state, held.owner) == ("pending", "somebody")
        assert (erasing.state, erasing.error_code) == ("erasing", "account_missing")
        # A claim ends, and a file is erased, after all replicas were marked.
        await ask(database, partial(change, database, "held", "C", due_at=AGO))
        later = {"state": "erasing", "error_code": None, "owner": None, "due_at": Now()}
        await ask(database, partial(change, database, "later", "C", **later))
        await missing.call()
        codes = Replica.objects.using(database).filter(account="C").values_list("error_code", flat=True)
        assert await ask(database, partial(list, codes)) == ["account_missing"] * 4
        await presence(ledger, database, A, B, C).call()
        free, held = [await in_c(database, key) for key in ("free", "held")]
        assert [(row.state, row.error_code) for row in (free, held)] == [("pending", None)] * 2
        assert free.due_at == lease_end  # before the first attempt it is the end of the upload's lease
        assert len(await claims_of(ledger, database).claim("C", ReplicaState.ERASING, 9)) == 2


def three_kinds(database: str) -> None:
    for key in ("free", "held", "later"):
        make_file(database, key, {"A": "stored", "C": "pending" if key != "later" else "stored"})
    change(database, "held", "C", owner="somebody", due_at=LATER)
    make_file(database, "erased", {"A": "erased", "C": "erasing"}, state=FileState.ERASING)
    change(database, "erased", "C", error_code="access_refused", due_at=LATER)
    make_file(database, "refused", {"A": "stored", "B": "blocked"})
    change(database, "refused", "B", error_code="access_refused")


async def test_only_replicas_that_wait_for_the_account_are_released_when_it_is_back(database: str) -> None:
    await ask(database, partial(three_kinds, database))
    async with ledger_on(database) as ledger:
        await presence(ledger, database, A, B, C).call()
        refused = await ask(database, partial(states, database, "refused"))
        assert refused == {"A": ("stored", None), "B": ("blocked", "access_refused")}
        assert (await in_c(database, "held")).owner == "somebody"


async def test_a_replica_gets_its_place_when_a_rebuild_did_not_know_the_account(database: str) -> None:
    def rebuilt() -> None:
        for key in ("k1", "k2"):
            make_file(database, key, {"A": "stored", "C": "pending"})
            unplaced = {"bucket": "", "object_key": key, "error_code": "account_unreachable", "due_at": None}
            change(database, key, "C", **unplaced)

    await ask(database, rebuilt)
    async with ledger_on(database) as ledger:
        await presence(ledger, database, A, C).call()
        found = await in_c(database, "k1")
        assert (found.state, found.bucket, found.object_key) == ("pending", "bucket-c", "of/ours/k1")
        await ask(database, partial(change, database, "k2", "C", bucket="", object_key="k2", due_at=None))
        await presence(ledger, database, A).call()
        await presence(ledger, database, A, C).call()
        found = await in_c(database, "k2")
        assert (found.state, found.bucket, found.object_key) == ("pending", "bucket-c", "of/ours/k2")
        assert len(await claims_of(ledger, database).claim("C", ReplicaState.PENDING, 9)) == 2


async def test_the_registry_has_the_retired_accounts_of_the_ledger(database: str) -> None:
    retired, registry = RetiredAccount.objects.using(database), Registry([A])
    async with ledger_on(database) as ledger:
        calls = Presence(ledger.writer, database, registry, pause_seconds=60)
        await calls.call()
        assert registry.retired == frozenset()
        await ask(database, lambda: retired.create(name="B", keeps=True, retired_at=Now()))
        await calls.call()
        assert registry.retired == frozenset("B")
        await ask(database, lambda: retired.filter(name="B").delete())
        await calls.call()
        assert registry.retired == frozenset()


async def test_presence_goes_on_when_the_ledger_cannot_be_read(sqlite_database: str) -> None:
    registry = Registry([A])
    registry.retired = frozenset("B")
    async with ledger_on(sqlite_database) as ledger:
        await Presence(ledger.writer, "there-is-no-such-database", registry, pause_seconds=60).call()
        assert registry.retired == frozenset("B")
        await Presence(ledger.writer, sqlite_database, registry, pause_seconds=60).call()
    assert registry.retired == frozenset()

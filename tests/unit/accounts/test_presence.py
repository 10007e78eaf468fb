"""What presence makes of the replicas of accounts that are missing, back, or retired; on both databases."""

from functools import partial

from django.db.models.functions import Now

from file.accounts.presence import Presence
from file.ledger.commit.ledger import DatabaseLedger
from file.ledger.work.claims import Claims
from file.logic.accounts.registry import Registry
from file.logic.values import Account, FileState, ReplicaState
from file.models import Replica, RetiredAccount
from testkit.memorybucket import account
from tests.unit.ledger.looking import ask, ledger_on
from tests.unit.ledger.rows import AGO, LATER, PREFIX, change, make_file, replica, states

A, B, C = (account(name, PREFIX) for name in "ABC")


def presence(ledger: DatabaseLedger, database: str, *accounts: Account) -> Presence:
    return Presence(ledger.writer, database, Registry(accounts), pause_seconds=60)


async def test_replicas_wait_while_their_account_is_missing_and_are_due_when_it_is_back(database: str) -> None:
    await ask(database, partial(_three_kinds, database))
    lease_end = (await ask(database, partial(replica, database, "free", "C"))).due_at
    async with ledger_on(database) as ledger:
        missing = presence(ledger, database, A, B)
        for _ in range(2):  # the second time, and another process, have nothing to do
            await missing.call()
            await presence(ledger, database, A, B).call()
        free, held, erasing = [
            await ask(database, partial(replica, database, key, "C")) for key in ("free", "held", "erased")
        ]
        assert (free.state, free.error_code) == ("blocked", "account_missing")
        assert (held.state, held.owner) == ("pending", "somebody")
        assert (erasing.state, erasing.error_code) == ("erasing", "account_missing")
        # Somebody's claim ends, and a file is erased, after everything was marked.
        await ask(database, partial(change, database, "held", "C", due_at=AGO))
        later = {"state": "erasing", "error_code": None, "owner": None, "due_at": Now()}
        await ask(database, partial(change, database, "later", "C", **later))
        await missing.call()
        assert await ask(database, partial(_codes, database)) == {"account_missing": 4}
        await presence(ledger, database, A, B, C).call()
        free, held = [await ask(database, partial(replica, database, key, "C")) for key in ("free", "held")]
        assert [(row.state, row.error_code) for row in (free, held)] == [("pending", None)] * 2
        assert free.due_at == lease_end  # before its first attempt it says how long somebody was at it
        due = await Claims(ledger.writer, database, under_way=(), claim_seconds=30).claim("C", ReplicaState.ERASING, 9)
        assert len(due) == 2


def _three_kinds(database: str) -> None:
    for key in ("free", "held", "later"):
        make_file(database, key, {"A": "stored", "C": "pending" if key != "later" else "stored"})
    change(database, "held", "C", owner="somebody", due_at=LATER)
    make_file(database, "erased", {"A": "erased", "C": "erasing"}, state=FileState.ERASING)
    change(database, "erased", "C", error_code="access_refused", due_at=LATER)
    make_file(database, "refused", {"A": "stored", "B": "blocked"})
    change(database, "refused", "B", error_code="access_refused")


def _codes(database: str) -> dict[str | None, int]:
    """What stands in the way in C, and how often."""
    codes = list(Replica.objects.using(database).filter(account="C").values_list("error_code", flat=True))
    return {code: codes.count(code) for code in codes}


async def test_only_what_waits_for_the_account_is_released_when_it_is_back(database: str) -> None:
    await ask(database, partial(_three_kinds, database))
    async with ledger_on(database) as ledger:
        await presence(ledger, database, A, B, C).call()
        assert await ask(database, partial(states, database, "refused")) == {
            "A": ("stored", None),
            "B": ("blocked", "access_refused"),
        }
        assert (await ask(database, partial(replica, database, "held", "C"))).owner == "somebody"


async def test_a_replica_gets_its_place_when_a_rebuild_did_not_know_the_account(database: str) -> None:
    def rebuilt() -> None:
        for key in ("k1", "k2"):
            make_file(database, key, {"A": "stored", "C": "pending"})
            unplaced = {"bucket": "", "object_key": key, "error_code": "account_unreachable", "due_at": None}
            change(database, key, "C", **unplaced)

    await ask(database, rebuilt)
    async with ledger_on(database) as ledger:
        await presence(ledger, database, A, C).call()
        found = await ask(database, partial(replica, database, "k1", "C"))
        assert (found.state, found.bucket, found.object_key) == ("pending", "bucket-c", "of/ours/k1")
        change_back = {"bucket": "", "object_key": "k2", "due_at": None}
        await ask(database, partial(change, database, "k2", "C", **change_back))
        await presence(ledger, database, A).call()
        await presence(ledger, database, A, C).call()
        found = await ask(database, partial(replica, database, "k2", "C"))
        assert (found.state, found.bucket, found.object_key) == ("pending", "bucket-c", "of/ours/k2")
        assert (
            len(
                await Claims(ledger.writer, database, under_way=(), claim_seconds=30).claim(
                    "C", ReplicaState.PENDING, 9
                )
            )
            == 2
        )


async def test_the_registry_says_which_accounts_are_retired_once_the_ledger_says_so(database: str) -> None:
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

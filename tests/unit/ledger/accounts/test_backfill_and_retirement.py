"""Backfill and retirement in the ledger's rows, on both databases."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from file.ledger.accounts import backfill as backfilling
from file.ledger.accounts.backfill import Backfilled, backfill, unretire
from file.ledger.accounts.retirement import Retirement, RetirementRefusedError, retire
from file.logic.accounts.placement import Placement
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountsRefusedError
from file.logic.values import Ack, FileState, ReplicaState
from file.models import File, Replica, RetiredAccount
from testkit.memorybucket import account
from tests.unit.ledger.looking import ask, execute, ledger_on
from tests.unit.ledger.rows import LATER, PREFIX, change, make_file, replica, state_of, states
from tests.unit.ledger.working import claims_of, erasures_of

B, C, D = (account(name, PREFIX) for name in "BCD")


def silent(_: Any) -> None:
    """Shows no progress."""


def retired(database: str, name: str, *, keeps: bool, configured: str = "ABC", ack: str = "any") -> Retirement:
    return retire(database, name, keeps=keeps, configured=list(configured), ack=Ack(ack), progress=silent)


def filled(database: str, progress: Callable[[Backfilled], None] = silent) -> Backfilled:
    """D, which is configured."""
    return backfill(database, Placement(Registry([D])), D, progress)


@pytest.fixture
def small_batches(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten files that D lacks, in batches of three."""
    monkeypatch.setattr(backfilling, "ROWS", 3)
    for number in range(10):
        make_file(database, f"k{number}", {"A": "stored"})


def replicas(database: str, account: str, **columns: Any) -> QuerySet[Replica]:
    return Replica.objects.using(database).filter(account=account, **columns)


# --- add


def test_every_acknowledged_file_gets_a_replica_when_an_account_is_filled(database: str) -> None:
    for number in range(7):
        make_file(database, f"k{number}", {"A": "stored"}, state=FileState.STORED)
    for key, state in (("there", "stored"), ("refused", "blocked"), ("came-back", "erased"), ("leaving", "erasing")):
        make_file(database, key, {"A": "stored", "D": state})
    change(database, "came-back", "D", bucket="the-former", object_key="former/k", erased_at=Now(), strangers=1)
    make_file(database, "erasing", {"A": "erasing"}, state=FileState.ERASING)
    make_file(database, "erased", {"A": "erased"}, state=FileState.ERASED, live=False)
    make_file(database, "under-way", {}, state=FileState.RECEIVING, lease_until=LATER)
    progress: list[int] = []
    done = filled(database, lambda at: progress.append(at.files))
    assert done == Backfilled(files=11, added=8, leaving=1, under_way=1)
    assert not done.is_whole
    assert progress[-1] == 11
    for key in ("k0", "came-back"):
        back = replica(database, key, "D")
        assert (back.state, back.bucket, back.object_key) == ("pending", "bucket-d", PREFIX + key)
    assert (back.stored_at, back.erased_at, back.etag, back.strangers) == (None, None, None, None)
    assert {state_of(database, key) for key in ("k0", "came-back")} == {FileState.PARTIAL}
    assert state_of(database, "there") == FileState.STORED
    assert set(states(database, "erasing")) == set(states(database, "erased")) == {"A"}
    assert filled(database).added == 0


async def test_no_upload_is_looked_for_when_a_replica_was_added(database: str) -> None:
    """None has begun there: an open upload under the key belongs to another service."""
    await ask(database, partial(make_file, database, "k", {"A": "stored"}))
    await ask(database, partial(filled, database))
    async with ledger_on(database) as ledger:
        [due] = await claims_of(ledger, database).claim("D", ReplicaState.PENDING, 10)
    assert due.lost is None


@pytest.mark.usefixtures("small_batches")
def test_every_batch_is_filled_when_it_is_interrupted_and_run_again(database: str) -> None:
    def interrupt(at: Backfilled) -> None:
        if at.added >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled(database, interrupt)
    assert replicas(database, "D").count() == 6
    assert filled(database) == Backfilled(files=10, added=4)
    assert replicas(database, "D", state="pending").count() == 10


def test_a_file_gets_no_replica_when_it_is_erased_at_that_moment(postgresql_database: str) -> None:
    """The batch waits for the erasure, which has locked the file's row."""
    alias = postgresql_database
    make_file(alias, "k", {"A": "stored"})
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic(using=alias):
            File.objects.using(alias).filter(key="k").update(state=FileState.ERASING)
            filling = thread.submit(_and_disconnect, alias, lambda: filled(alias))
            _wait_for_a_waiting_lock(alias)
        assert filling.result(20) == Backfilled(files=1, added=0)
    assert set(states(alias, "k")) == {"A"}


async def test_an_added_replica_is_erased_when_its_file_is_erased(database: str) -> None:
    await ask(database, partial(make_file, database, "k", {"A": "stored"}))
    await ask(database, partial(filled, database))
    async with ledger_on(database) as ledger:
        erasure, _ = await erasures_of(ledger, database).begin("k")
        assert erasure is not None
    assert {state for state, _ in (await ask(database, partial(states, database, "k"))).values()} == {"erasing"}


def test_an_account_gets_new_files_again_when_it_is_unretired(database: str) -> None:
    retired(database, "C", keeps=True)
    assert unretire(database, "C")
    assert not unretire(database, "C")
    assert not RetiredAccount.objects.using(database).exists()


@pytest.mark.usefixtures("small_batches")
def test_filling_stops_when_the_account_is_retired_meanwhile(database: str) -> None:
    def retire_it(at: Backfilled) -> None:
        retired(database, "D", keeps=True, configured="ABCD")

    with pytest.raises(AccountsRefusedError, match="D is retired"):
        filled(database, retire_it)
    assert replicas(database, "D").count() == 3
    with pytest.raises(AccountsRefusedError, match="D is retired"):
        filled(database)


# --- retire


@pytest.mark.parametrize("configured", ["ABC", "AB"])
def test_what_an_account_lacks_is_given_up_when_it_keeps_the_rest(database: str, configured: str) -> None:
    make_file(database, "there", {"A": "stored", "C": "stored"})
    for key, state in (("lacks", "pending"), ("held", "pending"), ("refused", "blocked"), ("replaced", "blocked")):
        make_file(database, key, {"A": "stored", "C": state})
    change(database, "held", "C", owner="somebody", due_at=LATER)
    change(database, "replaced", "C", error_code="replaced")
    was_due = replica(database, "lacks", "C").due_at
    done = retired(database, "C", keeps=True, configured=configured)
    assert done == Retirement(given_up=3, replaced=1, unfinished=3)
    assert not done.is_done
    assert states(database, "there")["C"] == ("stored", None)
    assert states(database, "replaced")["C"] == ("blocked", "replaced")
    for key in ("lacks", "held", "refused"):
        assert states(database, key)["C"] == ("erasing", None)
    assert replica(database, "lacks", "C").due_at == was_due
    # The process that works on it learns it when it goes on.
    assert replicas(database, "C").get(due_at__gt=Now()).owner == "somebody"
    replicas(database, "C", state="erasing").update(state="erased", due_at=None)
    assert retired(database, "C", keeps=True, configured=configured).is_done


def test_an_account_is_not_done_when_a_file_is_on_its_way_to_it(database: str) -> None:
    make_file(database, "k", {}, state=FileState.RECEIVING)
    until = Now() + timedelta(minutes=1)
    File.objects.using(database).update(wanted={"C": "bucket-c/"}, lease_until=until)
    done = retired(database, "C", keeps=False)
    assert (done.under_way, done.is_done) == (1, False)
    File.objects.using(database).update(wanted={"A": "bucket-a/"})
    assert retired(database, "C", keeps=False).is_done


def test_a_file_is_stored_when_the_account_that_lacked_it_is_retired(database: str) -> None:
    make_file(database, "k", {"A": "stored", "C": "pending"})
    retired(database, "C", keeps=True, configured="AB")
    assert state_of(database, "k") == FileState.STORED
    assert states(database, "k")["C"] == ("erasing", None)


def test_a_file_leaves_a_drained_account_when_another_one_has_it_sound(database: str) -> None:
    make_file(database, "both", {"A": "stored", "C": "stored"})
    make_file(database, "only", {"A": "pending", "C": "stored"})
    make_file(database, "doubtful", {"A": "stored", "C": "stored"})
    change(database, "doubtful", "A", error_code="replica_missing")  # a verification did not find it, and kept it
    make_file(database, "gone", {"C": "stored", "X": "stored"})  # X is not configured
    make_file(database, "replaced", {"A": "stored", "C": "blocked"})
    change(database, "replaced", "C", error_code="replaced")
    make_file(database, "erasing", {"A": "erasing", "C": "erasing"}, state=FileState.ERASING)
    done = retired(database, "C", keeps=False)
    assert done == Retirement(leaving=2, only_there=3, unfinished=3)
    for key in ("both", "replaced"):
        left = replica(database, key, "C")
        assert (left.state, left.error_code, left.attempts) == ("erasing", None, 0)
        assert left.due_at is not None
    for key in ("only", "doubtful", "gone"):
        assert states(database, key)["C"] == ("stored", None)
    assert [row.keeps for row in RetiredAccount.objects.using(database).all()] == [False]
    change(database, "only", "A", state="stored", due_at=None)
    assert retired(database, "C", keeps=False).leaving == 1


def test_one_of_two_accounts_keeps_a_file_when_both_are_drained(database: str) -> None:
    for number in range(5):
        make_file(database, f"k{number}", {"B": "stored", "C": "stored"})
    assert retired(database, "B", keeps=False).leaving == 5
    assert retired(database, "C", keeps=False).only_there == 5
    assert replicas(database, "C", state="stored").count() == 5


def test_an_account_is_not_retired_when_uploads_need_it(database: str) -> None:
    with pytest.raises(RetirementRefusedError, match="wants 3 accounts, and 2 would be left"):
        retired(database, "C", keeps=True, ack="3")
    retired(database, "C", keeps=True)
    retired(database, "B", keeps=True)
    with pytest.raises(RetirementRefusedError, match="the last account"):
        retired(database, "A", keeps=True)
    retired(database, "B", keeps=False)  # again, with another choice
    found = dict(RetiredAccount.objects.using(database).values_list("name", "keeps"))
    assert found == {"C": True, "B": False}


def test_one_of_two_is_refused_when_they_retire_the_last_two_accounts_at_once(postgresql_database: str) -> None:
    alias = postgresql_database
    with ThreadPoolExecutor(1) as thread:
        with transaction.atomic(using=alias):
            execute(alias, "LOCK TABLE file_retiredaccount IN SHARE ROW EXCLUSIVE MODE")
            RetiredAccount.objects.using(alias).create(name="A", keeps=True, retired_at=Now())
            work = partial(retired, alias, "B", keeps=True, configured="AB")
            other = thread.submit(_and_disconnect, alias, work)
            _wait_for_a_waiting_lock(alias)
        with pytest.raises(RetirementRefusedError):
            other.result(20)


def test_a_name_without_objects_is_forgotten_when_it_is_retired(database: str) -> None:
    make_file(database, "k", {"A": "stored", "B": "stored", "C": "pending"})
    make_file(database, "erasing", {"A": "erased", "C": "erasing"}, state=FileState.ERASING, key_hash="x")
    replicas(database, "C").update(bucket="", due_at=None)
    assert retired(database, "C", keeps=True, configured="AB").is_done
    assert set(states(database, "k")) == {"A", "B"}
    assert state_of(database, "k") == FileState.STORED
    assert File.objects.using(database).filter(state=FileState.ERASED).count() == 1


def _and_disconnect(alias: str, work: Callable[[], object]) -> object:
    """In a thread, which has its own connection."""
    try:
        return work()
    finally:
        connections[alias].close()


def _wait_for_a_waiting_lock(alias: str) -> None:
    """Polls PostgreSQL: it has no signal for this."""
    for _ in range(10_000):
        if execute(alias, "SELECT count(*) FROM pg_locks WHERE NOT granted") != [(0,)]:
            return
    raise AssertionError("no connection waits")

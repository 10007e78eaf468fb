"""Backfill and retirement, as the ledger's rows show them; on both databases."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.models.functions import Now

from file.ledger.accounts import backfill as backfilling
from file.ledger.accounts.backfill import Backfilled, backfill, unretire
from file.ledger.accounts.retirement import Retirement, RetirementRefusedError, retire
from file.ledger.work.claims import Claims
from file.logic.accounts.placement import Placement
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountsRefusedError
from file.logic.values import Ack, FileState, ReplicaState
from file.models import File, Replica, RetiredAccount
from testkit.memorybucket import account
from tests.unit.ledger.looking import ask, erasures_of, ledger_on
from tests.unit.ledger.rows import LATER, PREFIX, change, make_file, replica, state_of, states

B, C, D = (account(name, PREFIX) for name in "BCD")


def silent(_: Any) -> None:
    """Nobody watches."""


def retired(database: str, name: str, *, keeps: bool, configured: str = "ABC", ack: str = "any") -> Retirement:
    return retire(database, name, keeps=keeps, configured=list(configured), ack=Ack(ack), progress=silent)


def filled(database: str, told: Callable[[Backfilled], None] = silent) -> Backfilled:
    """D, which is configured."""
    return backfill(database, Placement(Registry([D])), D, told)


# --- add


def test_every_acknowledged_file_gets_a_replica_when_an_account_is_filled(database: str) -> None:
    for number in range(7):
        make_file(database, f"k{number}", {"A": "stored"}, state=FileState.STORED)
    make_file(database, "there", {"A": "stored", "D": "stored"})
    make_file(database, "refused", {"A": "stored", "D": "blocked"})
    make_file(database, "came-back", {"A": "stored", "D": "erased"})
    change(database, "came-back", "D", bucket="the-former", object_key="former/k", erased_at=Now(), strangers=1)
    make_file(database, "leaving", {"A": "stored", "D": "erasing"})
    make_file(database, "erasing", {"A": "erasing"}, state=FileState.ERASING)
    make_file(database, "erased", {"A": "erased"}, state=FileState.ERASED, live=False)
    make_file(database, "under-way", {}, state=FileState.RECEIVING, lease_until=LATER)
    told: list[int] = []
    done = filled(database, lambda at: told.append(at.files))
    assert done == Backfilled(files=11, added=8, leaving=1, under_way=1)
    assert not done.is_whole
    assert told[-1] == 11
    new = replica(database, "k0", "D")
    assert (new.state, new.bucket, new.object_key) == ("pending", "bucket-d", PREFIX + "k0")
    back = replica(database, "came-back", "D")
    assert (back.state, back.bucket, back.object_key) == ("pending", "bucket-d", PREFIX + "came-back")
    assert (back.stored_at, back.erased_at, back.etag, back.strangers) == (None, None, None, None)
    assert {state_of(database, key) for key in ("k0", "came-back")} == {FileState.PARTIAL}
    assert state_of(database, "there") == FileState.STORED
    assert set(states(database, "erasing")) == set(states(database, "erased")) == {"A"}
    assert filled(database).added == 0


async def test_no_upload_is_looked_for_when_a_replica_was_added(database: str) -> None:
    """Nobody has begun one there: what is open under the key is somebody else's."""
    await ask(database, partial(make_file, database, "k", {"A": "stored"}))
    await ask(database, partial(filled, database))
    async with ledger_on(database) as ledger:
        claims = Claims(ledger.writer, database, under_way=(), claim_seconds=30)
        [due] = await claims.claim("D", ReplicaState.PENDING, 10)
    assert due.lost is None


def test_more_files_than_a_batch_are_filled_when_it_is_interrupted_and_run_again(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfilling, "ROWS", 3)
    for number in range(10):
        make_file(database, f"k{number}", {"A": "stored"})

    def interrupt(at: Backfilled) -> None:
        if at.added >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled(database, interrupt)
    assert Replica.objects.using(database).filter(account="D").count() == 6
    assert filled(database) == Backfilled(files=10, added=4)
    assert Replica.objects.using(database).filter(account="D", state="pending").count() == 10


def test_a_file_gets_no_replica_when_it_is_erased_at_that_moment(postgresql_database: str) -> None:
    """The erasure has the file's row and is not through yet; the batch waits for it."""
    alias = postgresql_database
    make_file(alias, "k", {"A": "stored"})
    done: list[Backfilled] = []
    filling = _in_thread(alias, lambda: done.append(filled(alias)))
    with transaction.atomic(using=alias):
        File.objects.using(alias).filter(key="k").update(state=FileState.ERASING)
        filling.start()
        _until_somebody_waits_for_a_lock(alias)
    filling.join(20)
    assert done == [Backfilled(files=1, added=0)]
    assert set(states(alias, "k")) == {"A"}


async def test_a_replica_that_was_just_added_goes_with_its_file_when_it_is_erased(database: str) -> None:
    await ask(database, partial(make_file, database, "k", {"A": "stored"}))
    await ask(database, partial(filled, database))
    async with ledger_on(database) as ledger:
        erasure, _ = await erasures_of(ledger, database).begin("k")
        assert erasure is not None
    assert {state for state, _ in (await ask(database, partial(states, database, "k"))).values()} == {"erasing"}


def test_an_account_gets_new_files_when_it_is_taken_back(database: str) -> None:
    retired(database, "C", keeps=True)
    assert unretire(database, "C")
    assert not unretire(database, "C")
    assert not RetiredAccount.objects.using(database).exists()


def test_an_account_gets_no_replica_more_when_it_is_retired_while_it_is_filled(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfilling, "ROWS", 3)
    for number in range(10):
        make_file(database, f"k{number}", {"A": "stored"})

    def retire_it(at: Backfilled) -> None:
        retired(database, "D", keeps=True, configured="ABCD")

    with pytest.raises(AccountsRefusedError, match="D is retired"):
        filled(database, retire_it)
    assert Replica.objects.using(database).filter(account="D").count() == 3
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
    # Whoever works on it is told when it wants to go on.
    assert Replica.objects.using(database).get(account="C", due_at__gt=Now()).owner == "somebody"
    Replica.objects.using(database).filter(account="C", state="erasing").update(state="erased", due_at=None)
    assert retired(database, "C", keeps=True, configured=configured).is_done


def test_an_account_is_not_done_when_a_file_is_on_its_way_to_it(database: str) -> None:
    make_file(database, "k", {}, state=FileState.RECEIVING)
    until = Now() + timedelta(minutes=1)
    File.objects.using(database).update(wanted={"C": "bucket-c/"}, lease_until=until)
    done = retired(database, "C", keeps=False)
    assert (done.under_way, done.is_done) == (1, False)
    File.objects.using(database).update(wanted={"A": "bucket-a/"})
    assert retired(database, "C", keeps=False).is_done


def test_a_file_is_stored_when_the_account_that_lacked_it_is_gone_for_good(database: str) -> None:
    make_file(database, "k", {"A": "stored", "C": "pending"})
    retired(database, "C", keeps=True, configured="AB")
    assert state_of(database, "k") == FileState.STORED
    assert states(database, "k")["C"] == ("erasing", None)


def test_a_file_leaves_an_account_when_another_one_has_it_in_good_order(database: str) -> None:
    make_file(database, "both", {"A": "stored", "C": "stored"})
    make_file(database, "only", {"A": "pending", "C": "stored"})
    make_file(database, "doubtful", {"A": "stored", "C": "stored"})
    change(database, "doubtful", "A", error_code="replica_missing")  # a verification did not see it, and kept it
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
    assert Replica.objects.using(database).filter(account="C", state="stored").count() == 5


def test_an_account_is_not_retired_when_uploads_could_not_do_without(database: str) -> None:
    with pytest.raises(RetirementRefusedError, match="wants 3 accounts, and 2 would be left"):
        retired(database, "C", keeps=True, ack="3")
    retired(database, "C", keeps=True)
    retired(database, "B", keeps=True)
    with pytest.raises(RetirementRefusedError, match="the last account"):
        retired(database, "A", keeps=True)
    retired(database, "B", keeps=False)  # again, and otherwise
    found = dict(RetiredAccount.objects.using(database).values_list("name", "keeps"))
    assert found == {"C": True, "B": False}


def test_one_of_two_who_retire_the_last_two_accounts_is_refused(postgresql_database: str) -> None:
    alias = postgresql_database
    refused: list[RetirementRefusedError] = []

    def second() -> None:
        try:
            retired(alias, "B", keeps=True, configured="AB")
        except RetirementRefusedError as error:
            refused.append(error)

    other = _in_thread(alias, second)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("LOCK TABLE file_retiredaccount IN SHARE ROW EXCLUSIVE MODE")
        RetiredAccount.objects.using(alias).create(name="A", keeps=True, retired_at=Now())
        other.start()
        _until_somebody_waits_for_a_lock(alias)
    other.join(20)
    assert len(refused) == 1


def test_a_name_that_only_a_rebuild_knew_is_forgotten_when_it_is_retired(database: str) -> None:
    make_file(database, "k", {"A": "stored", "B": "stored", "C": "pending"})
    make_file(database, "erasing", {"A": "erased", "C": "erasing"}, state=FileState.ERASING, key_hash="x")
    Replica.objects.using(database).filter(account="C").update(bucket="", due_at=None)
    assert retired(database, "C", keeps=True, configured="AB").is_done
    assert set(states(database, "k")) == {"A", "B"}
    assert state_of(database, "k") == FileState.STORED
    assert File.objects.using(database).filter(state=FileState.ERASED).count() == 1


def _in_thread(alias: str, work: Callable[[], object]) -> threading.Thread:
    """With a connection of its own."""

    def run() -> None:
        try:
            work()
        finally:
            connections[alias].close()

    return threading.Thread(target=run)


def _until_somebody_waits_for_a_lock(alias: str) -> None:
    """PostgreSQL tells; asked again and again, for nothing else signals it."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    for _ in range(10_000):
        with connections[alias].cursor() as cursor:
            cursor.execute(waiting)
            if cursor.fetchone() != (0,):
                return
    raise AssertionError("nobody waits")

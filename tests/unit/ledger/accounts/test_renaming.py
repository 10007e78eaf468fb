"""Renaming in the ledger's rows, on both databases: all of them get the new name, or none."""

from collections.abc import Callable

import pytest
from django.db.models.functions import Now

from file.ledger.accounts.renaming import RenamingRefusedError, rename
from file.ledger.accounts.retirement import retire
from file.logic.values import Ack, FileState
from file.models import File, OpenUpload, Replica, RetiredAccount
from testkit.memorybucket import account
from tests.unit.ledger.rows import AGO, LATER, PREFIX, change, make_file, state_of, states

D = account("D", PREFIX)


def renamed(database: str) -> int:
    return rename(database, "C", D, lambda renamed: None)


def moved(database: str) -> None:
    """C's bucket is D's."""
    Replica.objects.using(database).filter(account="C").exclude(bucket="").update(bucket="bucket-d")


def test_an_account_has_its_new_name_everywhere_when_it_is_renamed(database: str) -> None:
    for key, state in (("stored", "stored"), ("lacks", "blocked"), ("gone", "erased")):
        make_file(database, key, {"A": "stored", "C": state})
    change(database, "lacks", "C", error_code="account_missing", due_at=AGO)
    make_file(database, "erasing", {"A": "erased", "C": "erasing"}, state=FileState.ERASING)
    dead = make_file(database, "dead", {}, state=FileState.RECEIVING, lease_until=AGO, wanted={"C": "x/", "A": "y/"})
    OpenUpload.objects.using(database).create(file_id=dead, account="C", upload_id="u", created_at=Now())
    moved(database)
    retire(database, "C", keeps=True, configured="ABC", ack=Ack("any"), progress=lambda done: None)
    assert renamed(database) == 4
    assert not Replica.objects.using(database).filter(account="C").exists()
    assert OpenUpload.objects.using(database).get().account == "D"
    assert RetiredAccount.objects.using(database).get().name == "D"
    wanted = {key: set(File.objects.using(database).get(key=key).wanted) for key in ("erasing", "dead", "stored")}
    assert wanted == {"erasing": {"A", "D"}, "dead": {"A", "D"}, "stored": {"A", "C"}}
    with pytest.raises(RenamingRefusedError, match="knows no account C"):
        renamed(database)


def test_a_replica_is_pending_when_the_account_that_it_waits_for_is_renamed(database: str) -> None:
    make_file(database, "k", {"A": "stored", "C": "blocked"})
    change(database, "k", "C", error_code="account_missing", due_at=AGO, bucket="bucket-d")
    assert renamed(database) == 1
    assert states(database, "k")["D"] == ("pending", None)


TROUBLES: dict[str, tuple[Callable[[str], object], str]] = {
    "being received": (
        lambda alias: make_file(alias, "r", {}, state="receiving", lease_until=LATER, wanted={"C": "x/"}),
        "1 files for C are being received",
    ),
    "worked on": (
        lambda alias: change(alias, "p", "C", owner="somebody", due_at=LATER),
        "1 replicas of C are being worked on",
    ),
    "two accounts": (lambda alias: make_file(alias, "two", {"C": "stored", "D": "stored"}), "they are two"),
    "another bucket": (lambda alias: change(alias, "k", "C", bucket="elsewhere"), "C has files in elsewhere"),
    "another prefix": (lambda alias: change(alias, "p", "C", object_key="elsewhere/p"), "under another prefix"),
    "moved": (lambda alias: change(alias, "latest", "C", object_key="elsewhere/k"), "lies under another prefix"),
    "unknown": (lambda alias: Replica.objects.using(alias).filter(account="C").delete(), "knows no account C"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_an_account_keeps_its_name_when_it_cannot_be_renamed(database: str, trouble: str) -> None:
    for key, state in (("k", "stored"), ("p", "pending"), ("latest", "stored")):
        make_file(database, key, {"A": "stored", "C": state})
    moved(database)
    strike, message = TROUBLES[trouble]
    strike(database)
    if trouble == "two accounts":
        moved(database)
    rows = Replica.objects.using(database).order_by("pk").values("account", "bucket", "state")
    before = list(rows.all())
    with pytest.raises(RenamingRefusedError, match=message):
        renamed(database)
    assert list(rows.all()) == before


def test_the_old_name_is_forgotten_when_a_rebuild_found_it_in_the_objects(database: str) -> None:
    make_file(database, "k", {"A": "stored", "C": "pending", "D": "stored"})
    make_file(database, "lacking", {"A": "stored", "C": "pending"})
    Replica.objects.using(database).filter(account="C").update(bucket="", due_at=None)
    assert renamed(database) == 1
    assert set(states(database, "k")) == set(states(database, "lacking")) == {"A", "D"}
    assert state_of(database, "k") == FileState.STORED

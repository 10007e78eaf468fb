"""What the ledger knows of its accounts, and which replicas are tried again, on both databases."""

from datetime import timedelta
from functools import partial

from awscrt.checksums import crc64nvme
from django.db.models.functions import Now

from file.ledger.accounts.accountstates import KnownAccount, known_accounts, names_of_unfinished
from file.ledger.accounts.presence import retry
from file.logic.errors import NoSourceError
from file.logic.values import FILE_ID, FileState, ReplicaState, checksum_text
from file.models import File, Replica, RetiredAccount
from testkit.memorybucket import MemoryBucket, MemoryObject, account
from tests.unit.ledger.looking import ask, ledger_on
from tests.unit.ledger.rows import LATER, PREFIX, change, make_file, replica, state_of, states
from tests.unit.repair.test_cleanup import cleaner_of

A, B, C = (account(name, PREFIX) for name in "ABC")


def test_each_account_has_its_counts_and_last_error(database: str) -> None:
    for key, state in (("k1", "pending"), ("k2", "pending"), ("k3", "erasing")):
        make_file(database, key, {"A": "stored", "B": state, "C": "blocked"})
    make_file(database, "k4", {"A": "erasing", "B": "erased", "D": "erased"})
    change(database, "k1", "B", created_at=Now() - timedelta(hours=1))
    change(database, "k2", "B", error_code="account_unreachable", due_at=LATER)
    change(database, "k3", "B", error_code="object_locked")
    for key, code in (("k1", "access_refused"), ("k2", "replaced"), ("k3", "access_refused")):
        change(database, key, "C", error_code=code)
    RetiredAccount.objects.using(database).create(name="C", keeps=True, retired_at=Now())
    found = known_accounts(database)
    assert set(found) == set("ABC")  # D has nothing of ours, and nothing is to be done there
    assert found["A"] == KnownAccount(name="A", bucket="bucket-a", stored=3, erasing={"": 1})
    b = found["B"]
    assert (b.stored, b.pending, b.blocked, b.erasing) == (0, 2, {}, {"object_locked": 1})
    assert b.last_error == "account_unreachable"
    assert b.oldest_seconds is not None
    assert 3590 < b.oldest_seconds < 3700
    c = found["C"]
    assert (c.keeps, c.blocked, c.last_error) == (True, {"access_refused": 2, "replaced": 1}, "access_refused")
    assert names_of_unfinished(database) == ["A", "B", "C"]


def test_refused_replicas_are_tried_again_when_an_account_is_retried(database: str) -> None:
    for key, code in (("k1", "access_refused"), ("k2", "replaced"), ("k3", "bucket_missing")):
        make_file(database, key, {"A": "stored", "C": "blocked"})
        change(database, key, "C", error_code=code, attempts=7)
    make_file(database, "other", {"A": "stored", "B": "blocked"})
    for key in ("erased", "settling", "held"):
        make_file(database, key, {"C": "erasing"}, state=FileState.ERASING)
        change(database, key, "C", due_at=LATER)  # "settling" is between two looks
    change(database, "erased", "C", error_code="object_locked", attempts=9)
    change(database, "held", "C", error_code="object_locked", owner="somebody")
    assert retry(database, C) == (2, 1)
    due = Replica.objects.using(database).filter(account="C", due_at__lte=Now(), attempts=0)
    assert sorted(due.values_list("file__key", "state", "error_code")) == [
        ("erased", "erasing", "object_locked"),
        ("k1", "pending", None),
        ("k3", "pending", None),
    ]
    assert states(database, "k2")["C"] == ("blocked", "replaced")
    assert states(database, "other")["B"] == ("blocked", None)
    assert retry(database, C) == (0, 0)


async def test_the_clean_up_empties_a_drained_account_when_another_one_shows_the_file(database: str) -> None:
    file_id = await ask(database, partial(make_file, database, "k", {"A": "stored", "B": "stored", "C": "erasing"}))
    await ask(database, partial(File.objects.using(database).update, crc64nvme=checksum_text(crc64nvme(b"abc"))))
    other, bucket = MemoryBucket("B", prefix=PREFIX), MemoryBucket("C", prefix=PREFIX)
    bucket.objects[PREFIX + "k"] = MemoryObject(b"abc", {FILE_ID: file_id}, "text/plain")
    assert await ask(database, partial(state_of, database, "k")) == FileState.PARTIAL
    due = Replica.objects.using(database).filter(account="C")
    async with ledger_on(database) as ledger, cleaner_of(ledger, database, other, bucket) as cleaner:
        assert await cleaner.clean(bucket.account.name) == 1
        assert bucket.objects  # no other account shows the file, although the ledger says so
        assert (await ask(database, partial(replica, database, "k", "C"))).error_code == NoSourceError.code
        await ask(database, partial(due.update, due_at=Now()))
        other.objects = dict(bucket.objects)
        assert await cleaner.clean(bucket.account.name) == 1
        assert await cleaner.clean(bucket.account.name) == 1  # the last look
    assert not bucket.objects
    assert other.objects
    assert (await ask(database, partial(replica, database, "k", "C"))).state == ReplicaState.ERASED
    assert await ask(database, partial(state_of, database, "k")) == FileState.STORED
    assert await ask(database, File.objects.using(database).filter(live=True, key="k").exists)

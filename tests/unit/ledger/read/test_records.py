"""What readers are told of the ledger: only what was acknowledged, in the order of the bytes, from both databases."""

import asyncio
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import OperationalError, connections
from hypothesis import given
from hypothesis import strategies as st

from file.ledger.database.threads import ReadingThreads
from file.ledger.read.queries import end_of_prefix
from file.ledger.read.records import Records
from file.logic.errors import LedgerUnavailableError
from file.logic.values import FileState, Pending, ReplicaState, Stored
from file.models import File, Replica

BEGAN = datetime(2026, 11, 24, 12, 0, 0, 250000, tzinfo=UTC)
ACKNOWLEDGED = ("stored", "partial")
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    """Waits for a coroutine. The tests themselves stand outside of the loop, for they use the ORM."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def records(database: str, run: Run) -> Iterator[Records]:
    opened = Records(database)
    yield opened
    run(opened.close())


def write(alias: str, key: str, state: str = "stored", replicas: Sequence[str] = ("stored",), **changes: Any) -> File:
    """A file with a replica for each of these states, of accounts A, B, and so on."""
    known = state in ACKNOWLEDGED
    fields: dict[str, Any] = {
        "id": uuid.uuid4(), "key": key, "live": state != "erased", "name": f"name of {key}", "size": 5,
        "content_type": "text/plain", "sha256": "ab" * 32, "crc64nvme": "AAAAAAAAAAc=", "metadata": {"a": "b"},
        "ack": "all", "wanted": {"A": "bucket/"}, "state": state, "who": "me", "created_at": BEGAN,
        "stored_at": BEGAN + timedelta(seconds=1) if known else None,
    }  # fmt: skip
    file = File.objects.using(alias).create(**{**fields, **changes})
    for account, replica in zip("ABCDE", replicas, strict=False):
        Replica.objects.using(alias).create(
            file=file, account=account, bucket="bucket", object_key=key, state=replica, created_at=BEGAN,
            etag='"e"' if replica == "stored" else None, error_code=None if replica == "stored" else "let_go",
        )  # fmt: skip
    return file


def keys(run: Run, records: Records, **asked: Any) -> list[str]:
    return [listed.key for listed in run(records.page(**{"limit": 100, **asked}))]


@pytest.mark.parametrize("state", list(FileState))
def test_a_file_exists_for_readers_when_it_was_acknowledged(
    database: str, records: Records, run: Run, state: FileState
) -> None:
    file = write(database, "a/b.txt", state, ("stored",))
    there = state in ACKNOWLEDGED
    assert (run(records.file("a/b.txt")) is not None) is there
    assert (run(records.receipt(str(file.id))) is not None) is there
    assert keys(run, records) == (["a/b.txt"] if there else [])


def test_the_receipt_has_every_outcome_when_a_file_is_asked_for(database: str, records: Records, run: Run) -> None:
    file = write(database, "k", "partial", ("stored", "pending", "blocked"))
    write(database, "k2")
    receipt = run(records.file("k"))
    assert receipt is not None
    assert receipt == run(records.receipt(str(file.id).upper()))
    assert (receipt.id, receipt.key, receipt.name, receipt.metadata) == (str(file.id), "k", "name of k", {"a": "b"})
    assert (receipt.created_at, receipt.stored_at) == (BEGAN, BEGAN + timedelta(seconds=1))
    assert receipt.digests is not None
    assert (receipt.digests.size, receipt.digests.sha256, receipt.digests.crc64nvme) == (5, b"\xab" * 32, 7)
    stored, pending, blocked = receipt.outcomes
    assert isinstance(stored, Stored)
    assert isinstance(pending, Pending)
    assert isinstance(blocked, Pending)
    assert (stored.account, stored.etag, pending.account, pending.code, pending.retryable) == (
        "A", '"e"', "B", "let_go", True,
    )  # fmt: skip
    assert (blocked.account, blocked.retryable) == ("C", False)


def test_the_living_file_is_found_when_an_erased_one_had_the_key(database: str, records: Records, run: Run) -> None:
    erased = write(database, "k", "erased", ("erased",))
    living = write(database, "k")
    receipt = run(records.file("k"))
    assert receipt is not None
    assert receipt.id == str(living.id)
    assert run(records.receipt(str(erased.id))) is None


@pytest.mark.parametrize("text", ["", "none", "0" * 32, "{%s}", "urn:uuid:%s", "\0", "\ud800", "%s\0"])
def test_nothing_is_found_when_the_id_is_none_of_ours(database: str, records: Records, run: Run, text: str) -> None:
    file = write(database, "k")
    assert run(records.receipt(text.replace("%s", str(file.id)))) is None


@pytest.mark.parametrize("key", ["", "none", "k\0", "\ud800", "K", "k "])
def test_nothing_is_found_when_the_key_is_not_the_very_same(
    database: str, records: Records, run: Run, key: str
) -> None:
    write(database, "k")
    assert run(records.file(key)) is None


def test_pages_follow_the_bytes_of_the_keys_when_they_are_listed(database: str, records: Records, run: Run) -> None:
    names = ["B", "Z/1", "a", "a b", "a%c", "a-b", "a/1", "a/10", "a/2", "a_c", "ab", "z", "\u00e4", "\ud7ff", "\ue000",
             "\uffff", "\U00010000", "\U0010ffff", "\U0010ffff\U0010ffff", "\U0010ffffa"]  # fmt: skip
    for name in reversed(names):
        write(database, name)
    write(database, "a/3", "receiving", ())
    ordered = sorted(names, key=lambda name: name.encode())
    assert keys(run, records) == ordered
    assert [listed.key for listed in run(records.page(after="", limit=3))] == ordered[:3]
    walked: list[str] = []
    while page := keys(run, records, after=walked[-1] if walked else "", limit=3):
        walked += page
    assert walked == ordered
    for prefix in ["a", "a/", "a/1", "a%", "a_", "Z", "\ud7ff", "\U0010ffff", "\U0010ffff\U0010ffff", "none", "A"]:
        expected = [name for name in ordered if name.startswith(prefix)]
        assert keys(run, records, prefix=prefix) == expected
        for after in ["B", "a/", "a/1", "b", "\U0010ffff", expected[0] if expected else "z", "a\0b"]:
            assert keys(run, records, prefix=prefix, after=after) == [n for n in expected if n > after]


def test_nothing_is_listed_when_no_key_can_be_meant(database: str, records: Records, run: Run) -> None:
    write(database, "a")
    for asked in ({"prefix": "a\0"}, {"prefix": "\ud800"}, {"after": "\udfff"}):
        assert keys(run, records, **asked) == []


def test_a_listing_has_one_state_when_it_is_asked_for(database: str, records: Records, run: Run) -> None:
    write(database, "a", "stored")
    partial = write(database, "b", "partial", ("stored", "pending"))
    write(database, "c", "erasing", ("erasing",))
    assert keys(run, records, state=FileState.STORED) == ["a"]
    assert keys(run, records, state=FileState.PARTIAL) == ["b"]
    assert keys(run, records, state=FileState.PARTIAL, prefix="b", after="a") == ["b"]
    for state in (FileState.ERASING, FileState.ERASED, FileState.RECEIVING):
        assert keys(run, records, state=state) == []
    (listed,) = run(records.page(prefix="b", limit=1))
    assert (listed.id, listed.name, listed.size, listed.sha256) == (str(partial.id), "name of b", 5, b"\xab" * 32)
    assert (listed.state, listed.content_type) == (FileState.PARTIAL, "text/plain")
    assert (listed.created_at, listed.stored_at) == (BEGAN, BEGAN + timedelta(seconds=1))


def test_what_is_still_to_be_done_is_counted_when_there_is_some(database: str, records: Records, run: Run) -> None:
    assert run(records.pending()) == []
    for number in range(3):
        write(database, f"k{number}", "partial", ("stored", "pending", "blocked", "erasing", "erased"))
    old = datetime.now(UTC) - timedelta(hours=2)
    Replica.objects.using(database).filter(account="B", file__key="k1").update(created_at=old)
    Replica.objects.using(database).exclude(created_at=old).update(created_at=datetime.now(UTC))
    found = {(entry.account, entry.state): entry for entry in run(records.pending())}
    assert {place: entry.count for place, entry in found.items()} == {
        ("B", ReplicaState.PENDING): 3,
        ("C", ReplicaState.BLOCKED): 3,
        ("D", ReplicaState.ERASING): 3,
    }
    assert 7200 <= found["B", ReplicaState.PENDING].oldest_seconds < 7320
    assert 0 <= found["C", ReplicaState.BLOCKED].oldest_seconds < 120


def test_an_error_of_ours_is_raised_when_the_database_fails(database: str, run: Run) -> None:
    with connections[database].cursor() as cursor:
        cursor.execute("DROP TABLE file_replica")
    records = Records(database)
    try:
        with pytest.raises(LedgerUnavailableError) as raised:
            run(records.file("k"))
        assert raised.value.__cause__ is not None
        assert "file_replica" not in str(raised.value)
        assert run(records.page(limit=1)) == []
    finally:
        run(records.close())


def test_a_connection_is_renewed_when_the_server_dropped_it(postgresql_database: str, run: Run) -> None:
    threads = ReadingThreads(postgresql_database, count=1)

    def connected_as() -> int:
        with connections[postgresql_database].cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    try:
        first = run(threads.run(connected_as))
        assert run(threads.run(connected_as)) == first
        with connections[postgresql_database].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [first])
        assert run(threads.run(connected_as)) != first
    finally:
        run(threads.close())


def test_the_loop_goes_on_and_every_connection_is_closed_when_the_threads_work(database: str, run: Run) -> None:
    threads = ReadingThreads(database, count=3)
    met = threading.Barrier(4)
    seen = []

    def job(number: int) -> int:
        seen.append(connections[database])
        connections[database].ensure_connection()
        met.wait(10)
        return number

    async def three_at_once() -> list[int]:
        jobs = [asyncio.ensure_future(threads.run(job, number)) for number in range(3)]
        await asyncio.to_thread(met.wait, 10)  # each job waits here; so does this, while the loop goes on
        return await asyncio.gather(*jobs)

    assert run(three_at_once()) == [0, 1, 2]
    assert len({id(connection) for connection in seen}) == 3
    run(threads.close())
    run(threads.close())
    assert [connection.connection for connection in seen] == [None, None, None]


def test_other_errors_stay_what_they_are_when_a_job_raises_them(sqlite_database: str, run: Run) -> None:
    threads = ReadingThreads(sqlite_database, count=1)

    def fail(error: Exception) -> None:
        raise error

    try:
        with pytest.raises(KeyError):
            run(threads.run(fail, KeyError("x")))
        with pytest.raises(LedgerUnavailableError) as raised:
            run(threads.run(fail, OperationalError("disk I/O error")))
        assert isinstance(raised.value.__cause__, OperationalError)
    finally:
        run(threads.close())


TEXTS = st.text(st.sampled_from("a\u007f\u00e9\ud7ff\ue000\U0010ffff"), max_size=4)


@given(prefix=TEXTS, text=TEXTS)
def test_a_prefix_s_end_parts_what_begins_so_from_what_follows_when_compared(prefix: str, text: str) -> None:
    end = end_of_prefix(prefix)
    in_range = prefix.encode() <= text.encode() and (end is None or text.encode() < end.encode())
    assert in_range is text.startswith(prefix)

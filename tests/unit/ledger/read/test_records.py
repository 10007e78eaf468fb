"""What readers see of the ledger, on both databases: only acknowledged files, in the order of their keys' bytes."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
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
from tests.unit.ledger.looking import execute
from tests.unit.ledger.rows import make_file

BEGAN = datetime(2026, 11, 24, 12, 0, 0, 250000, tzinfo=UTC)
ACKNOWLEDGED = ("stored", "partial")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
NewThreads = Callable[..., ReadingThreads]


@pytest.fixture
def run() -> Iterator[Run]:
    """Waits for a coroutine. The tests run outside the event loop, because they use the ORM."""
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture
def records(database: str, run: Run) -> Iterator[Records]:
    opened = Records(database)
    yield opened
    run(opened.close())


@pytest.fixture
def new_threads(run: Run) -> Iterator[NewThreads]:
    made: list[ReadingThreads] = []

    def new(database: str, count: int = 1) -> ReadingThreads:
        made.append(ReadingThreads(database, count=count))
        return made[-1]

    yield new
    for threads in made:
        run(threads.close())


def write(alias: str, key: str, state: str = "stored", replicas: Sequence[str] = ("stored",)) -> File:
    """A file with a replica in each of these states, in the accounts A, B, and so on."""
    columns = {
        "state": state, "live": state != "erased", "name": f"name of {key}", "size": 5, "sha256": "ab" * 32,
        "crc64nvme": "AAAAAAAAAAc=", "metadata": {"a": "b"}, "created_at": BEGAN,
        "stored_at": BEGAN + timedelta(seconds=1) if state in ACKNOWLEDGED else None,
    }  # fmt: skip
    pk = make_file(alias, key, dict(zip("ABCDE", replicas, strict=False)), **columns)
    Replica.objects.using(alias).filter(file_id=pk).exclude(state="stored").update(error_code="let_go")
    return File.objects.using(alias).get(pk=pk)


def keys(run: Run, records: Records, **asked: Any) -> list[str]:
    return [listed.key for listed in run(records.page(**{"limit": 100, **asked}))]


@pytest.mark.parametrize("state", list(FileState))
def test_readers_see_only_acknowledged_files(database: str, records: Records, run: Run, state: FileState) -> None:
    file = write(database, "a/b.txt", state, ("stored",))
    there = state in ACKNOWLEDGED
    assert (run(records.file("a/b.txt")) is not None) is there
    assert (run(records.receipt(str(file.id))) is not None) is there
    assert keys(run, records) == (["a/b.txt"] if there else [])


def test_the_receipt_has_every_outcome_when_a_file_is_asked_for(database: str, records: Records, run: Run) -> None:
    file = write(database, "k", "partial", ("stored", "pending", "blocked"))
    write(database, "k2")
    receipt = run(records.file("k"))
    assert receipt == run(records.receipt(str(file.id).upper()))
    assert (receipt.id, receipt.key, receipt.name, receipt.metadata) == (str(file.id), "k", "name of k", {"a": "b"})
    assert (receipt.created_at, receipt.stored_at) == (BEGAN, BEGAN + timedelta(seconds=1))
    assert (receipt.digests.size, receipt.digests.sha256, receipt.digests.crc64nvme) == (5, b"\xab" * 32, 7)
    stored, pending, blocked = receipt.outcomes
    assert [type(outcome) for outcome in receipt.outcomes] == [Stored, Pending, Pending]
    assert (stored.account, stored.etag) == ("A", '"etag"')
    assert (pending.account, pending.code, pending.retryable) == ("B", "let_go", True)
    assert (blocked.account, blocked.retryable) == ("C", False)


def test_the_living_file_is_found_when_an_erased_one_had_the_key(database: str, records: Records, run: Run) -> None:
    erased = write(database, "k", "erased", ("erased",))
    living = write(database, "k")
    assert run(records.file("k")).id == str(living.id)
    assert run(records.receipt(str(erased.id))) is None


@pytest.mark.parametrize("text", ["", "none", "0" * 32, "{%s}", "urn:uuid:%s", "\0", "\ud800", "%s\0"])
def test_nothing_is_found_when_the_id_is_none_of_ours(database: str, records: Records, run: Run, text: str) -> None:
    file = write(database, "k")
    assert run(records.receipt(text.replace("%s", str(file.id)))) is None


@pytest.mark.parametrize("key", ["", "none", "k\0", "\ud800", "K", "k "])
def test_nothing_is_found_when_the_key_is_another(database: str, records: Records, run: Run, key: str) -> None:
    write(database, "k")
    assert run(records.file(key)) is None


def test_pages_follow_the_bytes_of_the_keys_when_they_are_listed(database: str, records: Records, run: Run) -> None:
    ordered = ["B", "Z/1", "a", "a b", "a%c", "a-b", "a/1", "a/10", "a/2", "a_c", "ab", "z", "\u00e4", "\ud7ff",
               "\ue000", "\uffff", "\U00010000", "\U0010ffff", "\U0010ffffa", "\U0010ffff\U0010ffff"]  # fmt: skip
    assert ordered == sorted(ordered, key=str.encode)
    for name in reversed(ordered):
        write(database, name)
    write(database, "a/3", "receiving", ())
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


def test_nothing_is_listed_when_no_key_can_match(database: str, records: Records, run: Run) -> None:
    write(database, "a")
    for asked in ({"prefix": "a\0"}, {"prefix": "\ud800"}, {"after": "\udfff"}):
        assert keys(run, records, **asked) == []


def test_a_listing_has_one_state_when_the_state_is_given(database: str, records: Records, run: Run) -> None:
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


def test_unfinished_replicas_are_counted_by_account_and_state(database: str, records: Records, run: Run) -> None:
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


def test_an_error_of_ours_is_raised_when_the_database_fails(database: str, records: Records, run: Run) -> None:
    execute(database, "DROP TABLE file_replica")
    with pytest.raises(LedgerUnavailableError) as raised:
        run(records.file("k"))
    assert raised.value.__cause__ is not None
    assert "file_replica" not in str(raised.value)
    assert run(records.page(limit=1)) == []


def test_a_dropped_connection_is_renewed(postgresql_database: str, new_threads: NewThreads, run: Run) -> None:
    threads = new_threads(postgresql_database)
    connected_as = partial(execute, postgresql_database, "SELECT pg_backend_pid()")
    [(first,)] = run(threads.run(connected_as))
    assert run(threads.run(connected_as)) == [(first,)]
    execute(postgresql_database, "SELECT pg_terminate_backend(%s, 10000)", first)
    assert run(threads.run(connected_as)) != [(first,)]


def test_the_loop_goes_on_while_the_threads_work(database: str, new_threads: NewThreads, run: Run) -> None:
    threads = new_threads(database, count=3)
    met = threading.Barrier(4)
    seen = []

    def job(number: int) -> int:
        seen.append(connections[database])
        connections[database].ensure_connection()
        met.wait(10)
        return number

    async def three_at_once() -> list[int]:
        jobs = [asyncio.ensure_future(threads.run(job, number)) for number in range(3)]
        await asyncio.to_thread(met.wait, 10)  # the jobs wait for this thread, while the loop goes on
        return await asyncio.gather(*jobs)

    assert run(three_at_once()) == [0, 1, 2]
    assert len({id(connection) for connection in seen}) == 3
    run(threads.close())  # the fixture closes them again
    assert [connection.connection for connection in seen] == [None, None, None]


def test_only_errors_of_the_database_are_translated(sqlite_database: str, new_threads: NewThreads, run: Run) -> None:
    threads = new_threads(sqlite_database)

    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(KeyError):
        run(threads.run(fail, KeyError("x")))
    with pytest.raises(LedgerUnavailableError) as raised:
        run(threads.run(fail, OperationalError("disk I/O error")))
    assert isinstance(raised.value.__cause__, OperationalError)


TEXTS = st.text(st.sampled_from("a\u007f\u00e9\ud7ff\ue000\U0010ffff"), max_size=4)


@given(prefix=TEXTS, text=TEXTS)
def test_only_texts_with_the_prefix_are_between_it_and_its_end(prefix: str, text: str) -> None:
    end = end_of_prefix(prefix)
    in_range = prefix.encode() <= text.encode() and (end is None or text.encode() < end.encode())
    assert in_range is text.startswith(prefix)

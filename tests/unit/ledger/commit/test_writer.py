"""The writer: one transaction for all queued entries, an answer for each, and no entry fails with another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from django.db import Error
from structlog.testing import capture_logs

from file.ledger.commit.writer import Entry, Writer
from file.logic.errors import BusyError, KeyTakenError, LedgerUnavailableError
from tests.service.receipts import answer_when
from tests.unit.ledger.looking import ask, execute


class Written:
    """Keeps the written groups. The writer waits in each group until `go_on`."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.taken, self.go_on = threading.Event(), threading.Event()

    def __call__(self, asked: Sequence[Any]) -> Sequence[Any]:
        self.groups.append(list(asked))
        self.taken.set()
        assert self.go_on.wait(20)
        for each in asked:
            if isinstance(each, Exception):
                raise each
        return [f"{each} is written" for each in asked]


def submit(writer: Writer, asked: Any, *, bounded: bool = False) -> Entry[Any, Any]:
    entry: Entry[Any, Any] = Entry(asked)
    writer.submit(entry, bounded=bounded)
    return entry


@asynccontextmanager
async def busy_writer(
    database: str, written: Written, write: Any = None, *at_once: Any
) -> AsyncIterator[tuple[Writer, Entry[Any, Any]]]:
    """A writer that is writing the entry that is yielded with it, and waits for `go_on`."""
    async with Writer(database, write or written, *at_once) as writer:
        entry = submit(writer, "first")
        assert await asyncio.to_thread(written.taken.wait, 20)
        yield writer, entry


async def test_one_group_is_written_when_entries_queue_up_behind_another(sqlite_database: str) -> None:
    written = Written()
    async with busy_writer(sqlite_database, written) as (writer, first):
        others = [submit(writer, number) for number in range(10)]
        written.go_on.set()
        assert await first.result == "first is written"
        assert await asyncio.gather(*(entry.result for entry in others)) == [f"{n} is written" for n in range(10)]
    assert written.groups == [["first"], list(range(10))]


async def test_a_job_is_done_by_itself_when_entries_wait_around_it(sqlite_database: str) -> None:
    written = Written()
    async with busy_writer(sqlite_database, written) as (writer, _):
        before, job = submit(writer, "before"), asyncio.create_task(writer.run(lambda: len(written.groups)))
        await asyncio.sleep(0)
        after = submit(writer, "after")
        written.go_on.set()
        await before.result
        assert await job == 2
        await after.result
    assert written.groups == [["first"], ["before"], ["after"]]


def refuses_to_begin(asked: Sequence[Any]) -> None:
    for each in asked:
        if isinstance(each, ValueError):
            raise each


@pytest.mark.parametrize(
    ("at_once", "error"),
    [(lambda _: None, Error("no")), (refuses_to_begin, ValueError("no"))],
    ids=["by the statements", "at once"],
)
async def test_the_others_are_written_when_one_entry_cannot_be(database: str, at_once: Any, error: Exception) -> None:
    written = Written()
    async with busy_writer(database, written, written, at_once) as (writer, _):
        one, bad, other = submit(writer, 1), submit(writer, error), submit(writer, 2)
        written.go_on.set()
        assert (await one.result, await other.result) == ("1 is written", "2 is written")
        with pytest.raises(LedgerUnavailableError) as raised:
            await bad.result
    assert raised.value.__cause__ is error


async def test_entries_are_written_once_when_they_are_written_at_once(sqlite_database: str) -> None:
    written = Written()
    async with Writer(sqlite_database, written, lambda asked: [f"{each} at once" for each in asked]) as writer:
        assert await submit(writer, 1).result == "1 at once"
        assert await writer.run(lambda: "a job") == "a job"
    assert not written.groups


@pytest.mark.parametrize(
    ("error", "raised"),
    [(KeyTakenError(), KeyTakenError), (ValueError(), ValueError), (Error(), LedgerUnavailableError)],
    ids=["ours", "a mistake", "the database's"],
)
async def test_nothing_of_a_job_stays_when_it_fails(database: str, error: Exception, raised: type[Exception]) -> None:
    def work() -> None:
        execute(database, "INSERT INTO django_migrations (app, name, applied) VALUES ('x', 'y', '2026-01-01')")
        raise error

    async with Writer(database, Written()) as writer:
        with pytest.raises(raised):
            await writer.run(work)
        left = partial(execute, database, "SELECT * FROM django_migrations WHERE app = 'x'")
        assert await writer.run(left) == []


async def test_every_entry_fails_when_an_error_ends_the_thread(sqlite_database: str) -> None:
    written = Written()
    with capture_logs() as logs:
        # One answer is missing.
        async with busy_writer(sqlite_database, written, lambda asked: written(asked)[1:]) as (writer, first):
            second, job = submit(writer, "second"), asyncio.create_task(writer.run(lambda: None))
            await asyncio.sleep(0)
            written.go_on.set()
            answers = await asyncio.wait_for(
                asyncio.gather(first.result, second.result, job, return_exceptions=True), 10
            )
            with pytest.raises(LedgerUnavailableError):
                submit(writer, "late")
    assert all(isinstance(answer, LedgerUnavailableError) for answer in answers)
    assert [line["event"] for line in logs] == ["ledger_writer_ended"]


async def test_only_bounded_entries_are_refused_when_the_queue_is_full(sqlite_database: str) -> None:
    written = Written()
    async with busy_writer(sqlite_database, written) as (writer, _):
        waiting: list[Entry[Any, Any]] = []
        with pytest.raises(BusyError) as raised:
            waiting.extend(submit(writer, number, bounded=True) for number in range(100_000))
        assert not isinstance(raised.value, LedgerUnavailableError)
        assert len(waiting) > 256
        outcome = submit(writer, "an outcome")
        written.go_on.set()
        assert await outcome.result == "an outcome is written"
        assert all(entry.result.done() for entry in waiting)


async def test_an_entry_is_not_written_when_it_was_withdrawn_in_time(sqlite_database: str) -> None:
    written = Written()
    async with busy_writer(sqlite_database, written) as (writer, taken):
        waiting = submit(writer, "second")
        assert writer.withdraw(waiting)
        assert not writer.withdraw(waiting)
        assert not writer.withdraw(taken)
        written.go_on.set()
        await taken.result
    assert written.groups == [["first"]]


async def test_the_queue_is_written_and_the_connection_closed_when_the_writer_ends(postgresql_database: str) -> None:
    written = Written()
    async with busy_writer(postgresql_database, written) as (writer, _):
        entries = [submit(writer, number) for number in range(300)]
        written.go_on.set()
    await asyncio.gather(*(entry.result for entry in entries))
    assert sum(len(group) for group in written.groups) == 301
    with pytest.raises(LedgerUnavailableError):
        submit(writer, "late")
    others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    connected = partial(execute, postgresql_database, others)
    # The server needs a moment to see that a connection has ended.
    await answer_when(lambda: ask(postgresql_database, connected), lambda found: not found)

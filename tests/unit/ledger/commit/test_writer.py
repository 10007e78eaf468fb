"""The writer: one transaction for whatever queued up, an answer for each, and no neighbour's fault."""

import asyncio
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from django.db import Error, connections
from structlog.testing import capture_logs

from file.ledger.commit.writer import Entry, Writer
from file.logic.errors import BusyError, KeyTakenError, LedgerUnavailableError
from tests.unit.ledger.looking import ask


class Written:
    """Keeps the groups that were written. `hold` lets the writer wait inside of the next one."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self.taken = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def hold(self) -> None:
        self.taken.clear()
        self.go_on.clear()

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


async def busy(writer: Writer, written: Written) -> Entry[Any, Any]:
    """The writer has an entry in hand, and does not come to its end before `go_on`."""
    written.hold()
    entry = submit(writer, "first")
    assert await asyncio.to_thread(written.taken.wait, 20)
    return entry


async def test_one_group_is_written_when_entries_queue_up_behind_another(sqlite_database: str) -> None:
    written = Written()
    async with Writer(sqlite_database, written) as writer:
        first = await busy(writer, written)
        others = [submit(writer, number) for number in range(10)]
        written.go_on.set()
        assert await first.result == "first is written"
        assert await asyncio.gather(*(entry.result for entry in others)) == [f"{n} is written" for n in range(10)]
    assert written.groups == [["first"], list(range(10))]


async def test_a_job_is_done_by_itself_when_entries_wait_around_it(sqlite_database: str) -> None:
    written = Written()
    async with Writer(sqlite_database, written) as writer:
        await busy(writer, written)
        before, job = submit(writer, "before"), asyncio.create_task(writer.run(lambda: len(written.groups)))
        await asyncio.sleep(0)
        after = submit(writer, "after")
        written.go_on.set()
        await before.result
        assert await job == 2
        await after.result
    assert written.groups == [["first"], ["before"], ["after"]]


async def test_the_others_are_written_when_one_cannot_be(database: str) -> None:
    written = Written()
    async with Writer(database, written) as writer:
        await busy(writer, written)
        one, bad, other = submit(writer, 1), submit(writer, Error("no")), submit(writer, 2)
        written.go_on.set()
        assert (await one.result, await other.result) == ("1 is written", "2 is written")
        with pytest.raises(LedgerUnavailableError) as raised:
            await bad.result
    assert raised.value.__cause__ is bad.asked


async def test_the_others_are_written_when_one_cannot_be_asked_for_at_once(sqlite_database: str) -> None:
    written, bad = Written(), ValueError("no")

    def at_once(asked: Sequence[Any]) -> None:
        if bad in asked:
            raise bad

    async with Writer(sqlite_database, written, at_once) as writer:
        await busy(writer, written)
        one, mistaken, other = submit(writer, 1), submit(writer, bad), submit(writer, 2)
        written.go_on.set()
        assert (await one.result, await other.result) == ("1 is written", "2 is written")
        with pytest.raises(LedgerUnavailableError) as raised:
            await mistaken.result
    assert raised.value.__cause__ is bad


async def test_what_was_done_at_once_is_not_done_again(sqlite_database: str) -> None:
    written = Written()
    async with Writer(sqlite_database, written, lambda asked: [f"{each} at once" for each in asked]) as writer:
        assert await submit(writer, 1).result == "1 at once"
        assert await writer.run(lambda: "a job") == "a job"
    assert not written.groups


async def test_nothing_of_a_job_stays_when_it_fails(database: str) -> None:
    def work(error: Exception) -> None:
        with connections[database].cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('x', 'y', '2026-01-01')")
        raise error

    def count() -> int:
        with connections[database].cursor() as cursor:
            cursor.execute("SELECT count(*) FROM django_migrations WHERE app = 'x'")
            return int(cursor.fetchone()[0])

    async with Writer(database, Written()) as writer:
        for error, told in [
            (KeyTakenError(), KeyTakenError),
            (ValueError(), ValueError),
            (Error(), LedgerUnavailableError),
        ]:
            with pytest.raises(told):
                await writer.run(partial(work, error))
        assert await writer.run(count) == 0


async def test_all_are_told_when_the_thread_meets_what_ends_it(sqlite_database: str) -> None:
    written = Written()

    def too_few(asked: Sequence[Any]) -> Sequence[Any]:
        return written(asked)[1:]

    async with Writer(sqlite_database, too_few) as writer:
        with capture_logs() as logs:
            first = await busy(writer, written)
            second, job = submit(writer, "second"), asyncio.create_task(writer.run(lambda: None))
            await asyncio.sleep(0)
            written.go_on.set()
            answers = await asyncio.wait_for(
                asyncio.gather(first.result, second.result, job, return_exceptions=True), 10
            )
        assert all(isinstance(answer, LedgerUnavailableError) for answer in answers)
        assert [line["event"] for line in logs] == ["ledger_writer_ended"]
        with pytest.raises(LedgerUnavailableError):
            submit(writer, "late")


async def test_only_what_may_be_refused_is_when_the_queue_is_full(sqlite_database: str) -> None:
    written = Written()
    async with Writer(sqlite_database, written) as writer:
        await busy(writer, written)
        waiting: list[Entry[Any, Any]] = []

        def fill() -> None:
            for number in range(100_000):
                waiting.append(submit(writer, number, bounded=True))  # noqa: PERF401 - those before a refusal count

        with pytest.raises(BusyError) as raised:
            fill()
        assert not isinstance(raised.value, LedgerUnavailableError)
        assert len(waiting) > 256
        outcome = submit(writer, "an outcome")
        written.go_on.set()
        assert await outcome.result == "an outcome is written"
        assert all(entry.result.done() for entry in waiting)


async def test_an_entry_is_not_written_when_it_was_withdrawn_in_time(sqlite_database: str) -> None:
    written = Written()
    async with Writer(sqlite_database, written) as writer:
        taken = await busy(writer, written)
        waiting = submit(writer, "second")
        assert writer.withdraw(waiting)
        assert not writer.withdraw(waiting)
        assert not writer.withdraw(taken)
        written.go_on.set()
        await taken.result
    assert written.groups == [["first"]]


async def test_the_queue_is_written_and_the_connection_closed_when_the_writer_ends(postgresql_database: str) -> None:
    written = Written()
    async with Writer(postgresql_database, written) as writer:
        await busy(writer, written)
        entries = [submit(writer, number) for number in range(300)]
        written.go_on.set()
    await asyncio.gather(*(entry.result for entry in entries))
    assert sum(len(group) for group in written.groups) == 301
    with pytest.raises(LedgerUnavailableError):
        submit(writer, "late")

    def others() -> int:
        with connections[postgresql_database].cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            return int(cursor.fetchone()[0])

    for _ in range(200):  # the server needs a moment to see that a connection has gone
        if not await ask(postgresql_database, others):
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the connection is open still")

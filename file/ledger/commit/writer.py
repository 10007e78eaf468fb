"""One thread that writes: a transaction for all entries that were queued while the last one ran.

Entries are written in order, and each gets its own answer. If a group fails, its entries are written again one by one:
one bad row must not fail the others. An entry that still fails gets `LedgerUnavailableError`. It may be committed all
the same, because the answer to a commit can be lost: so look before you delete anything.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import structlog
from django.db import Error, InterfaceError, OperationalError, connections, transaction

from file import metrics
from file.logic.errors import BusyError, LedgerUnavailableError, UploadError, without_frames

T = TypeVar("T")
E = TypeVar("E")
_log = structlog.get_logger()
_GROUP = 128
_MOST_WAITING = 4096
_TIMED_OUT = ("55P03", "57014")  # PostgreSQL's lock_timeout and statement_timeout


class Entry(Generic[E, T]):
    """`asked` is for the writer, the answer comes as `result`. A job is a function, with a transaction of its own."""

    __slots__ = ("asked", "in_transaction", "is_job", "result")

    def __init__(self, asked: E, *, is_job: bool = False, in_transaction: bool = True) -> None:
        self.asked = asked
        self.is_job = is_job
        self.in_transaction = in_transaction
        self.result: asyncio.Future[T] = asyncio.get_running_loop().create_future()


class Group(Protocol):
    """Writes what is asked, in one transaction that is open already; returns an answer each."""

    def __call__(self, asked: Sequence[Any], /) -> Sequence[Any]: ...


class AtOnce(Protocol):
    """The same, faster, in a transaction of its own. None: it could not, or not completely, and the group decides,
    for which what was written before counts. Raises an `Error` only if the database is locked.
    """

    def __call__(self, asked: Sequence[Any], /) -> Sequence[Any] | None: ...


class Writer:
    """`write` carries a group out, in the writer's thread; where there is `at_once`, it is tried before. Belongs to one
    event loop; use it as a context.
    """

    def __init__(self, alias: str, write: Group, at_once: AtOnce = lambda asked: None) -> None:
        self._alias = alias
        self._write = write
        self._at_once = at_once
        self._waiting: deque[Entry[Any, Any]] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what is queued, and close the connection."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def submit(self, entry: Entry[E, T], *, bounded: bool = False) -> asyncio.Future[T]:
        """Queue it. Returns its answer to come.

        Raises `BusyError` if it is `bounded` and too many wait, `LedgerUnavailableError` after the end.
        """
        with self._changed:
            if self._stopped:
                raise LedgerUnavailableError
            if bounded and len(self._waiting) >= _MOST_WAITING:
                raise BusyError("The service is busy: its ledger has too much to write.")
            self._waiting.append(entry)
            self._changed.notify()
        return entry.result

    def withdraw(self, entry: Entry[Any, Any]) -> bool:
        """Take it out of the queue. False: it is being written, or was."""
        with self._changed:
            if entry in self._waiting:
                self._waiting.remove(entry)
                return True
            return False

    async def run(self, work: Callable[[], T], *, in_transaction: bool = True) -> T:
        """Run `work` in the writer's thread, in a transaction of its own, or between two transactions. Raises
        `LedgerUnavailableError`.

        It runs twice if the connection was broken at the first time.
        """
        return await self.ask(Entry[Callable[[], T], T](work, is_job=True, in_transaction=in_transaction))

    async def ask(self, entry: Entry[E, T]) -> T:
        """Queue it, and wait for its answer."""
        try:
            return await self.submit(entry)
        finally:
            del entry  # or an error as its answer holds this frame, and the frame the error

    # --- in the thread

    def _run(self) -> None:
        group: list[Entry[Any, Any]] = []
        try:
            while group := self._next():
                began = time.perf_counter()
                self._answer(self._commit(group))
                metrics.COMMIT_ENTRIES.observe(len(group))
                metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)
            connections[self._alias].close()
        except Exception as error:  # noqa: BLE001 - its callers would wait for ever
            _log.exception("ledger_writer_ended")
            with self._changed:
                self._stopped = True
                group = [*group, *self._waiting]
                self._waiting.clear()
            self._answer([(entry, _unavailable(error)) for entry in group])

    def _next(self) -> list[Entry[Any, Any]]:
        """Whatever waits; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            group: list[Entry[Any, Any]] = []
            while self._waiting and len(group) < _GROUP and not (group and self._waiting[0].is_job):
                group.append(self._waiting.popleft())
                if group[0].is_job:
                    break
            return group

    def _commit(self, group: list[Entry[Any, Any]]) -> list[tuple[Entry[Any, Any], Any]]:
        """Each entry with its answer, or the error that it met."""
        connection = connections[self._alias]
        used = connection.connection is not None  # it may be broken since then
        begun = False
        try:
            asked = [entry.asked for entry in group]
            answers = None if group[0].is_job else self._at_once(asked)
            if answers is None:
                transacting = transaction.atomic(using=self._alias, durable=True)
                with transacting if group[0].in_transaction else nullcontext():
                    begun = True
                    answers = [group[0].asked()] if group[0].is_job else self._write(asked)
        except Exception as error:  # noqa: BLE001 - it is the answer of the entry
            if group[0].is_job and isinstance(error, UploadError):
                # The job's own answer: nothing is wrong with the connection.
                return [(group[0], without_frames(error))]
            connection.close()  # what it was in the middle of is unknown
            if not begun and isinstance(error, Error):  # each entry would wait for the same lock
                return [(entry, _as_answer(error, entry)) for entry in group]
            if len(group) > 1:
                return self._commit_each(group)
            if used and isinstance(error, OperationalError | InterfaceError) and not _timed_out(error):
                return self._commit(group)
            return [(group[0], _as_answer(error, group[0]))]
        return list(zip(group, answers, strict=True))

    def _commit_each(self, group: list[Entry[Any, Any]]) -> list[tuple[Entry[Any, Any], Any]]:
        """One by one. After two time-outs, stop: each of the others would wait as long."""
        answered: list[tuple[Entry[Any, Any], Any]] = []
        late: list[BaseException | None] = []
        for entry in group:
            if len(late) > 1:
                answered.append((entry, _unavailable(late[-1])))
                continue
            answered += self._commit([entry])
            if isinstance(answer := answered[-1][1], LedgerUnavailableError) and _timed_out(answer.__cause__):
                late.append(answer.__cause__)
        return answered

    def _answer(self, answered: list[tuple[Entry[Any, Any], Any]]) -> None:
        assert self._loop is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_deliver, answered)


def _as_answer(error: Exception, entry: Entry[Any, Any]) -> Exception:
    if entry.is_job and not isinstance(error, Error):
        return error  # a mistake in the job
    _log.error("ledger_unavailable", error=repr(error))
    return _unavailable(error)


def _unavailable(cause: BaseException | None) -> LedgerUnavailableError:
    unavailable = LedgerUnavailableError()
    unavailable.__cause__ = cause
    return without_frames(unavailable)


def _timed_out(error: BaseException | None) -> bool:
    return error is not None and getattr(error.__cause__, "sqlstate", None) in _TIMED_OUT


def _deliver(answered: list[tuple[Entry[Any, Any], Any]]) -> None:
    for entry, answer in answered:
        if entry.result.done():
            continue
        if isinstance(answer, Exception):
            entry.result.set_exception(answer)
        else:
            entry.result.set_result(answer)

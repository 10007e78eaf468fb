"""Threads in which the ORM runs, each with its own database connection.

Promises: the event loop never waits for the database; a broken connection is renewed for the next job; database errors
leave as `LedgerUnavailableError`, with their cause; `close` waits for running jobs and closes every connection. Jobs
beyond the number of threads wait. A job runs to its end even when its caller is gone. Leaves to others: writes on the
path of an upload, which have their own thread (`writer.py`).
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from file.logic.errors import LedgerUnavailableError

P = ParamSpec("P")
T = TypeVar("T")
Part = TypeVar("Part", bound="LedgerPart")


class Runs(Protocol):
    """Runs work on the ledger: `ReadingThreads`, or the writer."""

    async def run(self, work: Callable[[], T], /) -> T:
        """The result of the work. Raises `LedgerUnavailableError` and the errors of the work."""


class LedgerPart:
    """A class whose methods read or write the database `alias`; `runs` runs those that are marked `in_thread`."""

    def __init__(self, runs: Runs, alias: str) -> None:
        self._runs = runs
        self._alias = alias


def in_thread(work: Callable[Concatenate[Part, P], T]) -> Callable[Concatenate[Part, P], Coroutine[Any, Any, T]]:
    """Turns a method into a coroutine: the whole method runs in the thread of `runs`, never in the event loop."""

    @wraps(work)
    async def run(self: Part, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._runs.run(partial(work, self, *args, **kwargs))

    return run


class ReadingThreads:
    """Up to `count` threads on the database `alias`; they start when they are needed."""

    def __init__(self, alias: str, count: int = 4) -> None:
        self._alias = alias
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="ledger")
        self._opened: list[BaseDatabaseWrapper] = []
        self._lock = threading.Lock()

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Calls the function in a thread. Raises `LedgerUnavailableError` and the errors of the function."""
        return await asyncio.wrap_future(self._threads.submit(self._in_thread, partial(function, *args, **kwargs)))

    async def close(self) -> None:
        """Waits for the running jobs, and closes the connections. It may be called again."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._threads.shutdown()
        with self._lock:
            opened, self._opened = self._opened, []
        for connection in opened:
            connection.close()

    def _in_thread(self, job: Callable[[], T]) -> T:
        connection = connections[self._alias]
        self._remember(connection)
        # As Django does around a request: closes a connection that broke or is older than CONN_MAX_AGE.
        connection.close_if_unusable_or_obsolete()
        try:
            return job()
        except Error as error:
            raise LedgerUnavailableError("The service cannot reach its ledger.") from error
        finally:
            connection.close_if_unusable_or_obsolete()

    def _remember(self, connection: BaseDatabaseWrapper) -> None:
        """A thread that has ended cannot close its connection, so `close` does it from another thread."""
        with self._lock:
            if not any(known is connection for known in self._opened):
                connection.inc_thread_sharing()
                self._opened.append(connection)

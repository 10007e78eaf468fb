"""The task of a direct client, its turn, and its output.

An upload is one file to all accounts: one after the other, or all at once. CPU seconds and memory are those of the
client, without its start.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.figures import Load
from bench.processes import highest_memory_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """`file`: uploaded repeatedly, under keys that begin with `prefix`."""

    accounts: list[dict[str, str]]
    all_at_once: bool
    file: str
    prefix: str
    at_once: int
    seconds: float
    limit_seconds: float
    requests: int | None

    @classmethod
    def from_arguments(cls) -> "Task":
        return cls(**json.loads(sys.argv[1]))

    @property
    def path(self) -> Path:
        return Path(self.file)


# Uploads one file to one account under this key.
Put = Callable[[dict[str, str], str], Awaitable[Any]]


def cpu_seconds() -> float:
    """The CPU seconds of this process and of its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


async def run(task: Task, put: Put) -> None:
    """Does the turn, and prints its line of JSON."""
    took: list[float] = []
    numbers = iter(range(task.requests if task.requests is not None else sys.maxsize))
    unfinished = 0

    async def client() -> None:
        nonlocal unfinished
        for number in numbers:
            if time.perf_counter() - began >= task.seconds:
                return
            start = time.perf_counter()
            unfinished += 1
            await _to_all(task, put, f"{task.prefix}{number}")
            unfinished -= 1
            took.append(time.perf_counter() - start)

    bad = ""
    # Warmed up as the gateways are: one-time work is done, and connections are open.
    await asyncio.gather(*(_to_all(task, put, f"{task.prefix}warm-{number}") for number in range(min(4, task.at_once))))
    cpu, began = cpu_seconds(), time.perf_counter()
    try:
        async with asyncio.timeout(task.limit_seconds), asyncio.TaskGroup() as group:
            for _ in range(task.at_once):
                group.create_task(client())
    except TimeoutError:
        pass
    except ExceptionGroup as errors:
        bad = repr(errors.exceptions[0])
    seconds = time.perf_counter() - began
    report(took, seconds, unfinished=unfinished, bad=bad, cpu=cpu_seconds() - cpu)


async def _to_all(task: Task, put: Put, key: str) -> None:
    if task.all_at_once:
        async with asyncio.TaskGroup() as group:
            for account in task.accounts:
                group.create_task(_started(put(account, key)))
        return
    for account in task.accounts:
        await put(account, key)


async def _started(waiting: Awaitable[Any]) -> None:
    await waiting


def report(
    took: list[float], seconds: float, *, unfinished: int, bad: str, cpu: float, operations: int | None = None
) -> None:
    """`operations`: their number, if they were not timed one by one."""
    in_order = sorted(took)
    load = Load(
        operations=len(took) if operations is None else operations,
        seconds=seconds,
        p50=in_order[len(took) // 2] if took else None,
        p99=in_order[len(took) * 99 // 100] if took else None,
        max=in_order[-1] if took else None,
        lost=int(bool(bad)),
        unfinished=unfinished,
        first_bad=bad,
        cpu_seconds=cpu,
        peak_bytes=highest_memory_bytes(os.getpid()),
    )
    sys.stdout.write(json.dumps(asdict(load)) + "\n")

"""What the tests of the API expect again and again: three accounts, a problem of a kind, and nothing left behind."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from testkit.memorybucket import MemoryBucket
from tests.serving import Running

ALWAYS = 1 << 30
PART = 65_536  # the part size of services that are to see many parts without many bytes
BOUND_SECONDS = 10.0


class Answered(Protocol):
    """An answer of httpx or of `rawhttp`."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def json(self) -> Any: ...


@dataclass
class Shared:
    """A service for a whole module of tests, and its buckets."""

    service: Running
    buckets: list[MemoryBucket]

    def assert_nothing_left(self) -> None:
        assert_nothing_left(self.service, self.buckets)


def three(**of_b: int) -> list[MemoryBucket]:
    """The faults strike B."""
    return [MemoryBucket("A"), MemoryBucket("B", faults=of_b), MemoryBucket("C")]


def assert_problem(answer: Answered, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (told["code"], told["status"]) == (code, status)
    assert told["type"] == f"urn:mentum:problem:{code}"
    assert told["title"]
    assert told["detail"]


def assert_nothing_left(service: Running, buckets: Sequence[MemoryBucket]) -> None:
    for bucket in buckets:
        assert not bucket.objects, bucket.account.name
        assert not bucket.uploads, bucket.account.name
    assert service.application.uploads.budget.used == 0


def assert_everywhere(buckets: Sequence[MemoryBucket], key: str, content: bytes) -> None:
    for bucket in buckets:
        assert bucket.objects[key].body == content
        assert not bucket.uploads


async def until(holds: Callable[[], bool]) -> None:
    """Poll, with a bound."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not holds():  # noqa: ASYNC110 - nothing signals it
            await asyncio.sleep(0.01)


async def until_idle(service: Running) -> None:
    await until(lambda: service.application.uploads.admission.under_way == 0)

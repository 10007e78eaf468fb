"""What many tests of the API need: a service with three accounts in memory, and what they expect of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from testkit.memorybucket import MemoryBucket
from tests.serving import Running, running

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
    """A running service with three memory buckets; usually the tests of a module share it."""

    service: Running
    buckets: list[MemoryBucket]

    @property
    def url(self) -> str:
        return self.service.url

    def client(self, **options: Any) -> httpx.AsyncClient:
        return self.service.client(**options)

    def assert_stored(self, answer: Answered, content: bytes) -> dict[str, Any]:
        """Every account has the content. Returns the receipt."""
        receipt: dict[str, Any] = answer.json()
        assert answer.status_code == 201, receipt
        assert_everywhere(self.buckets, receipt["key"], content)
        return receipt

    def assert_nothing_left(self) -> None:
        assert_nothing_left(self.service, self.buckets)

    def assert_no_memory_held(self) -> None:
        assert self.service.application.uploads.budget.used == 0

    def assert_not_asked(self) -> None:
        assert not any(bucket.calls for bucket in self.buckets)


@asynccontextmanager
async def memory_service(buckets: list[MemoryBucket] | None = None, **changes: Any) -> AsyncIterator[Shared]:
    """`changes` as in `tests.serving`."""
    buckets = buckets or three()
    async with running(buckets, **changes) as service:
        yield Shared(service, buckets)


def three(**of_b: int) -> list[MemoryBucket]:
    """The faults strike B."""
    return [MemoryBucket("A"), MemoryBucket("B", faults=of_b), MemoryBucket("C")]


def assert_problem(answer: Answered, status: int, code: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["code"], problem["status"], problem["type"]) == (code, status, f"urn:mentum:problem:{code}")
    assert problem["title"]
    assert problem["detail"]


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


def asked(buckets: Sequence[MemoryBucket]) -> str:
    """The accounts that were asked for a file, once per request."""
    return "".join(bucket.account.name * bucket.calls["get"] for bucket in buckets)


async def until_idle(service: Running) -> None:
    await until(lambda: service.application.uploads.admission.under_way == 0)

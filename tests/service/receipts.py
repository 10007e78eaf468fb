"""What the service says of a file after the answer, and asking until it says what is expected: nothing signals that."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx

BOUND_SECONDS = 30.0  # a loaded machine is slow

T = TypeVar("T")
Told = Mapping[str, Any]


async def answer_when(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """The first answer of which that is so."""
    deadline = asyncio.get_running_loop().time() + BOUND_SECONDS
    while not holds(answer := await ask()):
        assert asyncio.get_running_loop().time() < deadline, f"It never came to that: {answer}"
        await asyncio.sleep(0.05)
    return answer


async def receipt_of(client: httpx.AsyncClient, file_id: str) -> Told:
    answer = await client.get(f"/receipts/{file_id}")
    assert answer.status_code == 200, answer.text
    told: Told = answer.json()
    return told


async def receipt_when(client: httpx.AsyncClient, file_id: str, holds: Callable[[Told], bool]) -> Told:
    return await answer_when(lambda: receipt_of(client, file_id), holds)


async def listed_state(client: httpx.AsyncClient, key: str) -> str | None:
    """What the listing says of it; None if it is not there."""
    files = (await client.get("/files", params={"prefix": key})).json()["files"]
    found: dict[str, str] = {each["key"]: each["status"] for each in files}
    return found.get(key)


def statuses(told: Told) -> dict[str, str]:
    """Account to what became of it."""
    return {name: outcome["status"] for name, outcome in told["accounts"].items()}

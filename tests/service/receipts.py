"""What the service says about a file, in the answer and later. Nothing signals a change, so it is asked repeatedly."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx

BOUND_SECONDS = 30.0  # a loaded machine is slow

T = TypeVar("T")
Told = Mapping[str, Any]


async def answer_when(ask: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    deadline = asyncio.get_running_loop().time() + BOUND_SECONDS
    while not holds(answer := await ask()):
        assert asyncio.get_running_loop().time() < deadline, f"The expected answer never came: {answer}"
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
    """Its status in the listing; None if it is not there."""
    files = (await client.get("/files", params={"prefix": key})).json()["files"]
    found: dict[str, str] = {each["key"]: each["status"] for each in files}
    return found.get(key)


async def listed(client: httpx.AsyncClient) -> dict[str, str]:
    """The status of every file by key."""
    answer = (await client.get("/files", params={"limit": 1000})).json()
    assert answer["next"] is None
    return {file["key"]: file["status"] for file in answer["files"]}


def statuses(told: Told) -> dict[str, str]:
    """Status by account."""
    return {name: outcome["status"] for name, outcome in told["accounts"].items()}


def assert_told(answer: httpx.Response, status: int, codes: Mapping[str, str | None]) -> dict[str, Any]:
    """The answer has this status, and for each account its error code (None: it has the file)."""
    told: dict[str, Any] = answer.json()
    assert answer.status_code == status, told
    found = {name: outcome.get("error", {}).get("code") for name, outcome in told["accounts"].items()}
    assert found == codes, json.dumps(told, indent=1)
    return told

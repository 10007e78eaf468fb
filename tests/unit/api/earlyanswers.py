"""Requests that are answered before their end, and clients that write everything first: http.client and curl."""

import asyncio
import http.client
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from file.logic.values import MiB
from testkit.memorybucket import MemoryBucket
from testkit.serviceprocess import TOKEN
from tests.unit.api.expectations import ALWAYS, three
from tests.unit.api.rawhttp import Listening

PIECE = b"x" * MiB
BOUND_SECONDS = 60.0
LIMIT = 5_767_168


@dataclass(frozen=True)
class Early:
    """A request that is answered before its end."""

    status: int
    code: str
    token: str = TOKEN
    chunked: bool = False
    fault: str | None = None
    limit: int = 0

    def buckets(self) -> list[MemoryBucket]:
        return three(**{self.fault: ALWAYS} if self.fault else {})

    def headers(self, size: int) -> dict[str, str]:
        length = {"transfer-encoding": "chunked"} if self.chunked else {"content-length": str(size)}
        return {"authorization": f"Bearer {self.token}", **length}


EARLY = {
    "401": Early(401, "token_refused", token="an unknown token"),
    "401 chunked": Early(401, "token_refused", token="an unknown token", chunked=True),
    "413 declared": Early(413, "request_too_large", limit=LIMIT),
    "413 chunked": Early(413, "request_too_large", limit=LIMIT, chunked=True),
    "502": Early(502, "accounts_failed", fault="refuses_begin"),
    "502 chunked": Early(502, "accounts_failed", fault="refuses_begin", chunked=True),
}
each_early = pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)


def pieces(size: int) -> Iterable[bytes]:
    return (PIECE for _ in range(size // MiB))


def write_first(service: Listening, key: str, size: int, early: Early) -> tuple[int, str, str]:
    """As http.client does, and urllib3 on it. Returns status, code and the header Connection."""
    connection = http.client.HTTPConnection(service.url.removeprefix("http://"), timeout=BOUND_SECONDS)
    try:
        connection.request("PUT", f"/files/{key}", pieces(size), early.headers(size), encode_chunked=early.chunked)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["code"], answer.getheader("connection", "")
    finally:
        connection.close()


async def curl(service: Listening, size: int, early: Early, folder: Path) -> tuple[int, str]:
    """As curl does, without waiting for a 100. Returns status and code."""
    with (folder / "file").open("wb") as file:
        file.truncate(size)
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "--upload-file", "file"),
        *("--header", "expect:", "--header", f"authorization: Bearer {early.token}"),
        *(("--header", "transfer-encoding: chunked") if early.chunked else ()),
        f"{service.url}/files/k",
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    answer = json.loads(output)
    return answer["status"], answer["code"]

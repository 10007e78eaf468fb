"""Slow bodies hold little memory, and those of one token no more than its share: others go on."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from file.logic.values import KiB, MiB
from testkit.serviceprocess import TOKEN, ServiceProcess
from tests.service.hostile.oneaccount import TWO_TOKENS, of_other, put, serving
from tests.unit.api.expectations import assert_problem
from tests.unit.api.rawhttp import connected, exchange

ONE_TOKEN = json.dumps({"tests": TOKEN})
SLOW = 40
SLOW_BYTES = 5_200_000
PATIENT = {"UPLOAD_CLIENT_GRACE_SECONDS": "60"}
FOUR_PARTS = {**PATIENT, "UPLOAD_MEMORY": str(32 * MiB)}  # the minimum


@asynccontextmanager
async def slow_bodies(
    folder: Path, count: int, size: int, begin: bytes, **settings: str
) -> AsyncIterator[ServiceProcess]:
    """A service that receives this number of bodies; only the begin of each has arrived."""
    async with serving(folder, **settings) as service, AsyncExitStack() as clients:
        for number in range(count):
            connection = await clients.enter_async_context(connected(service))
            await connection.send(put(f"slow-{number}", size), begin)
        yield service


@pytest.mark.parametrize("tokens", [ONE_TOKEN, TWO_TOKENS], ids=["one token", "two tokens"])
async def test_small_files_are_stored_when_many_bodies_of_the_same_token_are_slow(tmp_path: Path, tokens: str) -> None:
    settings = {**FOUR_PARTS, "UPLOAD_WAIT_SECONDS": "4", "UPLOAD_TOKENS": tokens}
    async with slow_bodies(tmp_path, SLOW, SLOW_BYTES, b"x" * 10 * KiB, **settings) as service:
        for number in range(20):
            small = await exchange(service, put(f"small-{number}", 4 * KiB), b"x" * 4 * KiB)
            assert small.status_code == 201, small


async def test_other_tokens_go_on_when_many_bodies_of_one_token_are_slow(tmp_path: Path) -> None:
    settings = {**FOUR_PARTS, "UPLOAD_WAIT_SECONDS": "1"}
    async with slow_bodies(tmp_path, SLOW, SLOW_BYTES, b"x" * 10 * KiB, **settings) as service:
        for number in range(4):
            asked = [of_other(put(f"large-{number}-{each}", 5 * MiB)) for each in range(2)]
            answers = await asyncio.gather(*(exchange(service, each, b"x" * 5 * MiB) for each in asked))
            assert [answer.status_code for answer in answers] == [201, 201], answers


async def test_one_token_has_half_of_the_uploads_at_once_and_others_the_rest(tmp_path: Path) -> None:
    settings = {**PATIENT, "UPLOAD_MAX_UPLOADS": str(SLOW)}
    async with slow_bodies(tmp_path, SLOW // 2, 4 * KiB, b"x", **settings) as service:
        refused = await exchange(service, put("one-more", 1), b"x")
        assert_problem(refused, 503, "busy")
        assert "20 uploads with this token" in refused.json()["detail"]
        assert (await exchange(service, of_other(put("of-another", 1)), b"x")).status_code == 201

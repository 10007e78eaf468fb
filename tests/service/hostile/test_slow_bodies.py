"""Bodies that hardly arrive hold little memory, and one token's hold no more than its share: others go on."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from file.logic.values import KiB, MiB
from testkit.serviceprocess import TOKEN, ServiceProcess
from tests.service.hostile.oneaccount import TWO_TOKENS, of_other, put, serving
from tests.unit.api.rawhttp import connected, exchange

MEMORY = 32 * MiB  # the least that may be set: four parts
SLOW = 40
SLOW_BYTES = 5_200_000
ONE_TOKEN = json.dumps({"tests": TOKEN})


async def begin_slow_bodies(service: ServiceProcess, clients: AsyncExitStack) -> None:
    """Many at once, none of which ends; of each a little has arrived."""
    for number in range(SLOW):
        connection = await clients.enter_async_context(connected(service))
        await connection.send(put(f"slow-{number}", SLOW_BYTES), b"x" * 10 * KiB)


@pytest.mark.parametrize("tokens", [ONE_TOKEN, TWO_TOKENS])
async def test_small_files_are_stored_when_many_bodies_of_the_same_token_hardly_arrive(
    tmp_path: Path, tokens: str
) -> None:
    settings = {"UPLOAD_MEMORY": str(MEMORY), "UPLOAD_WAIT_SECONDS": "4", "UPLOAD_CLIENT_GRACE_SECONDS": "60"}
    async with (
        serving(tmp_path, **settings, UPLOAD_TOKENS=tokens) as service,
        AsyncExitStack() as clients,
    ):
        await begin_slow_bodies(service, clients)
        for number in range(20):
            small = await exchange(service, put(f"small-{number}", 4 * KiB), b"x" * 4 * KiB)
            assert small.status_code == 201, small


async def test_other_tokens_go_on_when_one_has_many_bodies_that_hardly_arrive(tmp_path: Path) -> None:
    settings = {"UPLOAD_MEMORY": str(MEMORY), "UPLOAD_WAIT_SECONDS": "1", "UPLOAD_CLIENT_GRACE_SECONDS": "60"}
    async with serving(tmp_path, **settings) as service, AsyncExitStack() as clients:
        await begin_slow_bodies(service, clients)
        for number in range(4):
            asked = [of_other(put(f"large-{number}-{each}", 5 * MiB)) for each in range(2)]
            answers = await asyncio.gather(*(exchange(service, each, b"x" * 5 * MiB) for each in asked))
            assert [answer.status_code for answer in answers] == [201, 201], answers


async def test_one_token_has_half_of_the_uploads_at_once_and_others_the_rest(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, UPLOAD_MAX_UPLOADS=str(SLOW), UPLOAD_CLIENT_GRACE_SECONDS="60") as service,
        AsyncExitStack() as clients,
    ):
        for number in range(SLOW // 2):
            connection = await clients.enter_async_context(connected(service))
            await connection.send(put(f"slow-{number}", 4 * KiB), b"x")
        refused = await exchange(service, put("one-more", 1), b"x")
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert "20 uploads with this token" in refused.json()["detail"]
        assert (await exchange(service, of_other(put("of-another", 1)), b"x")).status_code == 201

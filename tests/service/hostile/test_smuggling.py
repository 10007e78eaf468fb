"""No byte of a request is read as another request: what can be read in two ways is refused, and the connection ends."""

import pytest

from tests.service.hostile.wirecases import BEHIND, CASES, Sent
from tests.unit.api.expectations import Shared, assert_everywhere
from tests.unit.api.rawhttp import connected, exchange, head

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def statuses_of(service: Shared, sent: Sent) -> list[int]:
    """The statuses of all answers to these bytes and to what follows them, until the connection is closed or kept."""
    statuses = []
    async with connected(service) as connection:
        await connection.send(sent.wire + BEHIND)
        for _ in range(len(sent.statuses) + sent.goes_on):
            answer = await connection.answer()
            while answer.status_code == 100:
                answer = await connection.answer()
            statuses.append(answer.status_code)
        if not sent.goes_on:
            assert answer.headers.get("connection") == "close"
            assert await connection.ended()
    return statuses


@pytest.mark.parametrize("sent", CASES.values(), ids=CASES)
async def test_nothing_behind_it_is_read_when_a_request_is_refused(shared: Shared, sent: Sent) -> None:
    assert await statuses_of(shared, sent) == [*sent.statuses, *([201] if sent.goes_on else [])]
    stored = {"k": sent.body, "behind": b"y" if sent.goes_on else None}
    for key, body in stored.items():
        if body is None:
            assert not any(key in bucket.objects for bucket in shared.buckets)
        else:
            assert_everywhere(shared.buckets, key, body)
    assert (await exchange(shared, head("GET", "/_/health"))).status_code == 200

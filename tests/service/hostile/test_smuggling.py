"""No byte of a request is read as another request: what can be read in two ways is refused, and the connection ends."""

import pytest

from tests.service.hostile.wirecases import BEHIND, CASES, Sent
from tests.unit.api.expectations import Shared, assert_everywhere
from tests.unit.api.rawhttp import Answer, Connection, connected, exchange, head

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def last_answer(connection: Connection) -> Answer:
    """The next answer that is not `100 Continue`."""
    answer = await connection.answer()
    return await connection.answer() if answer.status_code == 100 else answer


async def answers_to(service: Shared, sent: Sent) -> list[Answer]:
    """All answers to these bytes and to the upload behind them."""
    async with connected(service) as connection:
        await connection.send(sent.wire + BEHIND)
        answers = [await last_answer(connection) for _ in range(len(sent.statuses) + sent.goes_on)]
        if not sent.goes_on:
            assert answers[-1].headers.get("connection") == "close"
            assert await connection.ended()
    return answers


@pytest.mark.parametrize("sent", CASES.values(), ids=CASES)
async def test_what_follows_is_read_only_when_the_request_ended_there(shared: Shared, sent: Sent) -> None:
    answers = await answers_to(shared, sent)
    assert [answer.status_code for answer in answers] == [*sent.statuses, *([201] if sent.goes_on else [])]
    for answer in answers:
        assert answer.status_code < 400 or answer.headers["content-type"] == "application/problem+json"
    stored = {"k": sent.body, "behind": b"y" if sent.goes_on else None}
    for key, body in stored.items():
        if body is None:
            assert not any(key in bucket.objects for bucket in shared.buckets)
        else:
            assert_everywhere(shared.buckets, key, body)
    assert (await exchange(shared, head("GET", "/_/health"))).status_code == 200

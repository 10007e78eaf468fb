"""Admission: the number of uploads at once, in total and per principal, and their end with the service."""

import asyncio

import pytest

from file.api.admission import Admission
from file.logic.errors import BusyError, ShuttingDownError


async def upload(admission: Admission, end: asyncio.Event, who: str) -> str:
    with admission.admitted(who):
        await end.wait()
    return "stored"


def start(admission: Admission, end: asyncio.Event, who: str) -> asyncio.Task[str]:
    return asyncio.ensure_future(upload(admission, end, who))


async def test_an_upload_is_refused_when_the_limit_is_reached() -> None:
    admission, end = Admission(2), asyncio.Event()
    running = [start(admission, end, "a"), start(admission, end, "a")]
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="2 uploads are running"):
        await upload(admission, end, "b")
    end.set()
    assert await asyncio.gather(*running) == ["stored", "stored"]
    assert await upload(admission, end, "b") == "stored"


async def test_one_principal_leaves_room_for_others_when_it_has_its_share() -> None:
    admission, end = Admission(2, share=0.5), asyncio.Event()
    running = start(admission, end, "a")
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="with this token"):
        await upload(admission, end, "a")
    other = start(admission, end, "b")
    await asyncio.sleep(0)
    assert admission.under_way == 2
    end.set()
    assert list(await asyncio.gather(running, other)) == ["stored", "stored"]


async def test_the_cancellation_is_passed_on_when_it_is_not_ours() -> None:
    admission, never = Admission(1), asyncio.Event()
    request = start(admission, never, "a")
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert admission.under_way == 0


async def test_draining_waits_for_the_uploads_when_their_requests_go_on_afterwards() -> None:
    admission, end, answered = Admission(1), asyncio.Event(), asyncio.Event()

    async def request() -> None:
        await upload(admission, end, "a")
        await answered.wait()

    running = asyncio.ensure_future(request())
    await asyncio.sleep(0)
    draining = asyncio.ensure_future(admission.drain(10))
    await asyncio.sleep(0)
    assert not draining.done()
    end.set()
    await asyncio.wait_for(draining, 10)
    answered.set()
    await running


async def test_uploads_are_cancelled_and_refused_when_the_service_ends() -> None:
    admission, never = Admission(2), asyncio.Event()
    running = start(admission, never, "a")
    await asyncio.sleep(0)
    await admission.drain(0)
    assert admission.draining
    assert not running.cancelling()  # it can answer
    for ended in (running, start(admission, never, "a")):
        with pytest.raises(ShuttingDownError):
            await ended

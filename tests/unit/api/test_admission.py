"""Admission: the number of uploads at once, in total and per principal, and their end with the service."""

import asyncio

import pytest

from file.api.admission import Admission
from file.logic.errors import BusyError, ShuttingDownError


async def upload(end: asyncio.Event) -> str:
    await end.wait()
    return "stored"


def start(admission: Admission, end: asyncio.Event, who: str) -> asyncio.Task[str]:
    return asyncio.ensure_future(admission.run(upload(end), who=who))


async def test_an_upload_is_refused_when_the_limit_is_reached() -> None:
    admission, end = Admission(2), asyncio.Event()
    running = [start(admission, end, "a"), start(admission, end, "a")]
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="2 uploads are running"):
        await admission.run(upload(end), who="b")
    end.set()
    assert await asyncio.gather(*running) == ["stored", "stored"]
    assert await admission.run(upload(end), who="b") == "stored"


async def test_one_principal_leaves_room_for_others_when_it_has_its_share() -> None:
    admission, end = Admission(2, share=0.5), asyncio.Event()
    running = start(admission, end, "a")
    await asyncio.sleep(0)
    with pytest.raises(BusyError, match="with this token"):
        await admission.run(upload(end), who="a")
    other = start(admission, end, "b")
    await asyncio.sleep(0)
    assert admission.under_way == 2
    end.set()
    assert list(await asyncio.gather(running, other)) == ["stored", "stored"]


async def test_an_upload_goes_on_when_its_request_is_cancelled() -> None:
    admission, end = Admission(1), asyncio.Event()
    request = start(admission, end, "a")
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert admission.under_way == 1
    end.set()
    await admission.drain(10)
    assert admission.under_way == 0


async def test_uploads_are_cancelled_and_refused_when_the_service_ends() -> None:
    admission, never = Admission(2), asyncio.Event()
    running = start(admission, never, "a")
    await asyncio.sleep(0)
    await admission.drain(0)
    assert admission.draining
    for ended in (running, start(admission, never, "a")):
        with pytest.raises(ShuttingDownError):
            await ended

"""One timer for many waits: a wait that takes too long ends; a cancellation by another task stays one."""

import asyncio
import time

import pytest

from file.api.timeouts import ReusableTimeout

LONG = 60.0


async def wait(timeout: ReusableTimeout, seconds: float, event: asyncio.Event) -> None:
    timeout.begin(seconds)
    try:
        await event.wait()
    finally:
        timeout.end()


def arrived() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def test_a_wait_ends_when_it_takes_too_long() -> None:
    timeout, task = ReusableTimeout(), asyncio.current_task()
    assert task is not None
    for _ in range(2):  # also the next time
        with pytest.raises(TimeoutError):
            await wait(timeout, 0.01, asyncio.Event())
        assert not task.cancelling()
    await wait(timeout, LONG, arrived())


async def test_a_wait_has_its_own_time_when_the_timer_is_of_one_before() -> None:
    timeout, loop = ReusableTimeout(), asyncio.get_running_loop()
    await wait(timeout, 0.01, arrived())
    began = loop.time()
    with pytest.raises(TimeoutError):
        await wait(timeout, 0.2, asyncio.Event())
    assert loop.time() - began >= 0.2  # and not when the timer of the wait before was over


async def test_the_task_is_not_interrupted_when_it_does_not_wait() -> None:
    timeout = ReusableTimeout()
    await wait(timeout, 0.01, arrived())
    await asyncio.sleep(0.05)
    with pytest.raises(TimeoutError):  # and it is set again
        await wait(timeout, 0.01, asyncio.Event())


async def test_it_can_begin_again_when_it_was_closed() -> None:
    timeout = ReusableTimeout()
    await wait(timeout, LONG, arrived())
    timeout.close()
    timeout.close()
    with pytest.raises(TimeoutError):
        await wait(timeout, 0.01, asyncio.Event())


@pytest.mark.parametrize("at_the_same_time", [False, True])
async def test_a_cancelled_task_stays_cancelled(at_the_same_time: bool) -> None:
    timeout, loop = ReusableTimeout(), asyncio.get_running_loop()
    task = asyncio.create_task(wait(timeout, 0.01 if at_the_same_time else LONG, asyncio.Event()))
    await asyncio.sleep(0)
    loop.call_later(0.02, task.cancel)
    if at_the_same_time:
        time.sleep(0.05)  # noqa: ASYNC251 - the loop finds both of them due
    with pytest.raises(asyncio.CancelledError):
        await task

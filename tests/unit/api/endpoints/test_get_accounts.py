"""Which account a file is read from, how a body ends when one fails, and readers who are slow or leave."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from structlog.testing import capture_logs

from file.logic.values import MiB, Pending
from testkit.memorybucket import PIECE, MemoryBucket
from tests.files import bytes_of
from tests.readers import TOKEN, Reader, reading
from tests.unit.api.expectations import asked, assert_problem, until
from tests.unit.api.rawhttp import head

CONTENT = bytes_of(2 * PIECE + 100)
SMALL = b"content"


async def broken_off(reader: Reader, path: str) -> int:
    """The number of bytes before the connection breaks; a body that ends well is a failure."""
    received = 0
    async with reader.client() as client:
        try:
            async with client.stream("GET", path) as answer:
                assert answer.status_code in (200, 206)
                async for piece in answer.aiter_raw():
                    received += len(piece)
        except httpx.RemoteProtocolError:
            return received
    pytest.fail("The body ended well.")


@asynccontextmanager
async def stalling() -> AsyncIterator[tuple[Reader, MemoryBucket]]:
    """One account with a file, whose next read stalls in the middle."""
    bucket = MemoryBucket("A", faults={"stalls_in_the_middle": 1})
    async with reading([bucket]) as reader:
        await reader.store("k", CONTENT)
        yield reader, bucket


# --- which account


async def test_the_accounts_are_asked_in_order_when_the_first_ones_fail() -> None:
    buckets = [
        MemoryBucket("A", faults={"refuses_get": 9}),
        MemoryBucket("B"),
        MemoryBucket("C", faults={"drops_connection": 9}),
    ]
    for order, expected in (([], "AB"), (["C", "A"], "ABC"), (["B"], "B"), (["C"], "ABC")):
        for bucket in buckets:
            bucket.calls.clear()
        async with reading(buckets, order=order) as reader:
            receipt = await reader.store("k", CONTENT, into=buckets[1:2])
            stored = receipt.outcomes[0]
            both = [dataclasses.replace(stored, account=name, bucket=f"bucket-{name.lower()}") for name in "AC"]
            reader.records.add(dataclasses.replace(receipt, outcomes=(*both, *receipt.outcomes)))
            answer = await reader.get("/files/k")
            assert (answer.status_code, answer.content) == (200, CONTENT)
            assert asked(buckets) == expected
            assert (await reader.get("/files/k", "HEAD")).status_code == 200
            buckets[1].objects.clear()


async def test_an_account_is_not_asked_when_it_does_not_have_the_file(
    reader: Reader, buckets: list[MemoryBucket]
) -> None:
    pending = Pending(account="A", bucket="bucket-a", object_key="k")
    await reader.store("k", CONTENT, into=buckets[1:2], outcomes=(pending,))
    assert (await reader.get("/files/k")).content == CONTENT
    assert asked(buckets) == "B"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_every_reason_is_given_when_no_account_can_read(
    reader: Reader, buckets: list[MemoryBucket], method: str
) -> None:
    await reader.store("k", CONTENT)
    buckets[0].faults["drops_connection"] = 1
    buckets[1].faults["refuses_get"] = 1
    del buckets[2].objects["k"]
    answer = await reader.get("/files/k", method)
    assert answer.status_code == 502
    if method == "GET":
        assert_problem(answer, 502, "file_unreadable")
        accounts = answer.json()["accounts"].items()
        assert {name: (each["error"]["code"], each["error"]["retryable"]) for name, each in accounts} == {
            "A": ("account_unreachable", True),
            "B": ("access_refused", False),
            "C": ("replica_missing", False),
        }
        assert answer.json()["retryable"] is True


async def test_the_answer_says_so_when_no_account_that_has_the_file_is_configured(reader: Reader) -> None:
    await reader.store("k", CONTENT, into=[MemoryBucket("Z")])
    answer = await reader.get("/files/k")
    assert_problem(answer, 502, "file_unreadable")
    assert answer.json()["accounts"]["Z"]["error"]["detail"] == "Account Z is not configured any more."


# --- in the middle


@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=7-"}], ids=["whole", "range"])
async def test_another_account_goes_on_when_one_breaks_in_the_middle(headers: dict[str, str]) -> None:
    buckets = [MemoryBucket(name, faults={"breaks_in_the_middle": 1}) for name in "AB"]
    async with reading([*buckets, MemoryBucket("C")]) as reader:
        await reader.store("k", CONTENT)
        answer = await reader.get("/files/k", **headers)
        assert answer.content == CONTENT[7 if headers else 0 :]
        assert [bucket.calls["get"] for bucket in buckets] == [1, 1]


async def test_an_account_is_asked_again_when_it_gave_something_and_no_other_is_left() -> None:
    bucket, content = MemoryBucket("A", faults={"breaks_in_the_middle": 2}), bytes_of(7 * PIECE)
    async with reading([bucket]) as reader:
        await reader.store("k", content)
        assert (await reader.get("/files/k")).content == content
        assert bucket.calls["get"] == 3


async def test_the_connection_breaks_when_no_account_is_left_in_the_middle() -> None:
    async with stalling() as (reader, bucket):
        with capture_logs() as logs:
            receiving = asyncio.ensure_future(broken_off(reader, "/files/k"))
            await asyncio.wait_for(bucket.stalled.wait(), 10)
            bucket.faults |= {"breaks_in_the_middle": 1, "refuses_get": 1}
            bucket.released.set()
            assert await receiving < len(CONTENT)
            await until(lambda: any(line["event"] == "request" for line in logs))
        [line] = [line for line in logs if line["event"] == "request"]
        assert (line["code"], line["status"]) == ("file_unreadable", 200)
        failed = [line["code"] for line in logs if line["event"] == "read_failed"]
        assert failed == ["account_unreachable", "access_refused"]


async def test_the_connection_breaks_when_the_bytes_are_not_those_that_were_stored() -> None:
    bucket = MemoryBucket("A", faults={"damages_a_piece": 1})
    async with reading([bucket]) as reader:
        await reader.store("k", CONTENT)
        assert await broken_off(reader, "/files/k") < len(CONTENT)
        assert (await reader.get("/files/k")).content == CONTENT


async def test_another_account_is_asked_when_damaged_bytes_were_not_handed_on_yet() -> None:
    buckets = [MemoryBucket("A", faults={"damages_a_piece": 9}), MemoryBucket("B")]
    async with reading(buckets) as reader:
        await reader.store("k", SMALL)
        assert (await reader.get("/files/k")).content == SMALL
        buckets[1].faults["damages_a_piece"] = 9
        answer = await reader.get("/files/k")
        assert_problem(answer, 502, "file_unreadable")
        assert [each["error"]["code"] for each in answer.json()["accounts"].values()] == ["account_failing"] * 2


# --- readers who are slow, or leave, and a service that ends


async def test_the_account_is_left_when_the_reader_leaves() -> None:
    async with stalling() as (reader, bucket):
        with capture_logs() as logs:
            async with reader.client() as client, client.stream("GET", "/files/k") as answer:
                assert answer.status_code == 200
                await asyncio.wait_for(bucket.stalled.wait(), 10)
                assert bucket.being_read == 1
            await until(lambda: bucket.being_read == 0)
            await until(lambda: any(line["event"] == "request" for line in logs))
        assert [line["code"] for line in logs if line["event"] == "request"] == ["client_gone"]
        assert reader.readings.under_way == 0


@pytest.mark.parametrize("leaves", [False, True])
async def test_little_is_read_ahead_when_the_reader_is_slow(leaves: bool) -> None:
    bucket, content = MemoryBucket("A"), bytes(64 * MiB)
    async with reading([bucket]) as reader:
        await reader.store("k", content)
        url = httpx.URL(reader.url)
        incoming, outgoing = await asyncio.open_connection(url.host, url.port, limit=PIECE)
        outgoing.write(head("GET", "/files/k", token=TOKEN))
        taken = -1
        while taken != bucket.given or not taken:  # until nothing more is taken
            taken = bucket.given
            await asyncio.sleep(0.3)
        assert taken <= 16 * MiB  # what the kernel keeps for both ends
        if leaves:
            outgoing.transport.abort()
        else:
            await incoming.readuntil(b"\r\n\r\n")
            received = 0
            while received < len(content):
                received += len(await incoming.read(PIECE))
                assert bucket.given - received <= 16 * MiB
            outgoing.close()
        await until(lambda: bucket.being_read == 0)
        assert (bucket.given < len(content)) == leaves


async def test_reads_are_broken_off_when_the_time_to_drain_is_over() -> None:
    async with stalling() as (reader, bucket):
        receiving = asyncio.ensure_future(broken_off(reader, "/files/k"))
        await asyncio.wait_for(bucket.stalled.wait(), 10)
        await asyncio.wait_for(reader.readings.drain(0.05), 10)
        assert await receiving < len(CONTENT)
        assert bucket.being_read == 0
        assert_problem(await reader.get("/files/k"), 503, "shutting_down")


async def test_reads_finish_when_the_service_drains() -> None:
    async with stalling() as (reader, bucket):
        receiving = asyncio.ensure_future(reader.get("/files/k"))
        await asyncio.wait_for(bucket.stalled.wait(), 10)
        draining = asyncio.ensure_future(reader.readings.drain(30))
        bucket.released.set()
        assert (await receiving).content == CONTENT
        await asyncio.wait_for(draining, 10)

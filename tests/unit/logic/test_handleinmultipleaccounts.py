"""The flow, from the first chunk to the receipt, against memory buckets: all accounts have the file, or none."""

import asyncio
import hashlib
from collections.abc import AsyncIterator

import pytest

from file.logic.errors import ClientGoneError, DigestMismatchError, SizeMismatchError
from file.logic.values import Failed, Removal
from testkit.memorybucket import MemoryBucket
from tests.flow import PART, assert_nothing_left, buckets, chunks_of, send

SIZES = [0, 1, PART - 1, PART, PART + 1, 4 * PART, 4 * PART + 1]


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("size", SIZES)
async def test_every_account_has_the_bytes_when_all_is_well(size: int, declared: bool) -> None:
    content = hashlib.shake_256(str(size).encode()).digest(size)
    among = buckets()
    receipt = await send(among, content, declared=declared)
    assert receipt.stored
    assert receipt.digests is not None
    assert receipt.digests.sha256 == hashlib.sha256(content).digest()
    for bucket in among:
        assert bucket.objects["k"].body == content
        assert not bucket.uploads


async def test_one_put_is_used_when_the_declared_size_fits_one_part() -> None:
    among = buckets()
    await send(among, b"x" * PART)
    assert all(bucket.calls["put"] == 1 and bucket.calls["begin"] == 0 for bucket in among)


@pytest.mark.parametrize("fault", ["refuses_put", "refuses_begin", "refuses_part", "refuses_complete"])
async def test_no_account_keeps_anything_when_one_refuses(fault: str) -> None:
    among = buckets(**{fault: 1})
    receipt = await send(among, b"x" * (PART if fault == "refuses_put" else 5 * PART))
    assert not receipt.stored
    assert_nothing_left(among)
    codes = {o.account: o.error.code for o in receipt.outcomes if isinstance(o, Failed)}
    assert codes == {"A": "taken_back", "B": "access_refused", "C": "taken_back"}


@pytest.mark.parametrize("size", [PART, 5 * PART])
@pytest.mark.parametrize("fault", ["drops_connection", "loses_put_reply", "loses_complete_reply", "loses_begin_reply"])
async def test_the_file_is_stored_when_an_answer_is_lost_once(fault: str, size: int) -> None:
    among = buckets(**{fault: 1})
    assert (await send(among, b"x" * size)).stored
    for bucket in among:
        assert bucket.objects["k"].body == b"x" * size
        assert not bucket.uploads


@pytest.mark.parametrize(("fault", "size"), [("stalls_at_put", PART), ("stalls_at_part", 5 * PART)])
async def test_the_others_remove_the_file_when_one_account_hangs(fault: str, size: int) -> None:
    among = buckets(**{fault: 1 << 30, "stalls_at_remove": 1 << 30, "stalls_at_abort": 1 << 30})
    failed = [o for o in (await send(among, b"x" * size)).outcomes if isinstance(o, Failed)]
    assert [o.removal for o in failed] == [Removal.REMOVED, Removal.PENDING, Removal.REMOVED]
    assert failed[1].error.code == "account_stalled"
    assert_nothing_left([among[0], among[2]])


async def test_both_failures_are_in_the_receipt_when_two_accounts_fail_at_once() -> None:
    refusing, failing = {"refuses_put": 1}, {"fails_put": 99}
    among = [MemoryBucket("A", faults=refusing), MemoryBucket("B"), MemoryBucket("C", faults=failing)]
    receipt = await send(among, b"x")
    codes = {o.account: o.error.code for o in receipt.outcomes if isinstance(o, Failed)}
    assert codes == {"A": "access_refused", "B": "taken_back", "C": "account_failing"}
    assert_nothing_left(among)


async def test_removal_is_pending_when_an_account_refuses_to_remove() -> None:
    among = [MemoryBucket("A", faults={"refuses_remove": 1}), MemoryBucket("B", faults={"refuses_put": 1})]
    receipt = await send(among, b"x")
    assert [o.removal for o in receipt.outcomes if isinstance(o, Failed)] == [Removal.PENDING, Removal.REMOVED]


async def test_nothing_is_published_when_the_digest_differs() -> None:
    for size in (10, 5 * PART):
        among = buckets()
        with pytest.raises(DigestMismatchError):
            await send(among, b"x" * size, sha256=bytes(32))
        assert_nothing_left(among)
        assert not any(bucket.calls["complete"] or bucket.calls["put"] for bucket in among)


@pytest.mark.parametrize("declared_size", [10, 5 * PART, 7 * PART])
async def test_nothing_is_left_when_the_body_is_not_of_the_declared_size(declared_size: int) -> None:
    for real in (declared_size - 1, declared_size + 1, declared_size + 3 * PART):
        among = buckets()
        with pytest.raises(SizeMismatchError):
            await send(among, b"x" * real, size=declared_size)
        assert_nothing_left(among)


@pytest.mark.parametrize("after", [0, 100, 3 * PART + 1])
async def test_nothing_is_left_when_the_client_goes_away(after: int) -> None:
    async def leaving() -> AsyncIterator[bytes]:
        async for chunk in chunks_of(b"x" * after):
            yield chunk
        raise ClientGoneError

    among = buckets()
    with pytest.raises(ClientGoneError):
        await send(among, b"", chunks=leaving(), size=10 * PART)
    assert_nothing_left(among)


async def test_the_rest_of_the_body_is_not_awaited_when_an_account_has_failed() -> None:
    never = asyncio.Event()

    async def stopping() -> AsyncIterator[bytes]:
        yield b"x" * 2 * PART
        await never.wait()

    among = buckets(refuses_begin=1)
    assert not (await asyncio.wait_for(send(among, b"", chunks=stopping(), size=10 * PART), 5)).stored
    assert_nothing_left(among)

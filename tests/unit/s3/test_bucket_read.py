"""Reading from servers that answer other than S3 does: never other bytes than were asked for."""

import asyncio

import pytest

from file.logic.errors import AccountError, AccountFailingError, AccountUnreachableError, ReplicaMissingError
from file.logic.values import FILE_ID, Stored
from file.s3.bucket import S3Bucket
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.files import described, part_of
from tests.unit.s3.conftest import OpenBucket, read_whole, refusal
from tests.unit.s3.rawserver import answering

STORED = Stored(account="A", bucket="bucket-a", object_key="k", etag='"e"', version_id=None, request_id="r")
OURS = [f"x-amz-meta-{FILE_ID}: id", 'ETag: "e"']
CONTENT = b"0123456789"


def answer(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


NOT_AS_ASKED: dict[str, tuple[bytes, type[AccountError]]] = {
    "the range ignored": (answer("200 OK", CONTENT, *OURS), AccountFailingError),
    "another range": (answer("206 P", b"345", *OURS, "Content-Range: bytes 3-5/10"), AccountFailingError),
    "no range said": (answer("206 P", b"234", *OURS), AccountFailingError),
    "another size": (answer("206 P", b"234", *OURS, "Content-Range: bytes 2-4/11"), ReplicaMissingError),
    "another tag": (answer("206 P", b"234", OURS[0], 'ETag: "f"', "Content-Range: bytes 2-4/10"), ReplicaMissingError),
    "another file": (
        answer("206 P", b"234", "x-amz-meta-mentum-file-id: another", OURS[1], "Content-Range: bytes 2-4/10"),
        ReplicaMissingError,
    ),
    "metadata and tag lost": (answer("206 P", b"234", 'ETag: "f"', "Content-Range: bytes 2-4/10"), ReplicaMissingError),
    "too few": (answer("206 P", b"23", *OURS, "Content-Range: bytes 2-4/10"), AccountUnreachableError),
    "too many": (answer("206 P", b"2345", *OURS, "Content-Range: bytes 2-4/10"), AccountFailingError),
    "cut off": (answer("206 P", b"23", *OURS, "Content-Range: bytes 2-4/10", length=3), AccountUnreachableError),
    "a page": (answer("200 OK", b"<html>Sign in</html>"), AccountFailingError),
    "no content": (answer("204 No Content", b"", *OURS), AccountFailingError),
    "no HTTP": (b"220 mail.example ESMTP\r\n", AccountUnreachableError),
}


@pytest.mark.parametrize("nonsense", NOT_AS_ASKED)
async def test_the_read_fails_when_the_answer_is_not_what_was_asked_for(
    nonsense: str, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    answered, kind = NOT_AS_ASKED[nonsense]
    async with answering(answered) as url:
        bucket = await open_bucket(account.at(url))

        async def read() -> None:
            async with bucket.read(STORED, file_id="id", start=2, stop=5, size=10) as pieces:
                received = b"".join([piece async for piece in pieces])
                pytest.fail(f"{received!r} was accepted.")

        assert type(await refusal(bucket, read())) is kind


async def test_the_bytes_come_when_a_store_omits_the_quotes(account: StoreAccount, open_bucket: OpenBucket) -> None:
    async with answering(answer("200 OK", CONTENT, OURS[0], "ETag: e")) as url:
        assert await read_whole(await open_bucket(account.at(url)), STORED, "id", 10) == CONTENT


async def test_the_clock_is_corrected_when_an_account_refuses_a_read_because_of_it(
    proxy: FaultProxy, proxied_bucket: S3Bucket, open_bucket: OpenBucket
) -> None:
    proxy.add(Fault.has_wrong_clock(times=None))
    description = described()
    stored = await proxied_bucket.put(description, part_of(CONTENT))
    fresh = await open_bucket(proxy.account)
    assert await read_whole(fresh, stored, description.file_id, 10) == CONTENT


async def test_the_connection_is_closed_when_the_reader_leaves_early(
    proxy: FaultProxy, proxied_bucket: S3Bucket
) -> None:
    proxy.add(Fault.slows(100_000, operation="get"))
    description, size = described(), 1_000_000
    stored = await proxied_bucket.put(description, part_of(bytes(size)))
    async with proxied_bucket.read(stored, file_id=description.file_id, start=0, stop=size, size=size) as pieces:
        assert await asyncio.wait_for(anext(aiter(pieces)), 10)
    [seen] = await proxy.wait_until("get", ended=True)
    assert seen.reply_bytes < size

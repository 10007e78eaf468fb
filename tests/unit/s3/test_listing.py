"""Everything in an account: pages as S3 and other stores send them, and a real server with each kind of key."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from awscrt.checksums import crc64nvme

from file.logic.errors import AccessRefusedError, AccountFailingError, AccountUnreachableError
from file.s3.bucket import S3Bucket
from file.s3.xml import Page, UnreadableAnswerError, objects
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import s3_buckets
from tests.files import bytes_of, described, part_of
from tests.unit.s3.conftest import LARGE, OpenBucket, upload
from tests.unit.s3.network import listening
from tests.unit.s3.rawserver import ok

PREFIX = "of our own/"
KEYS = ["ü/ñ 空 +&?=%41#x", "a-b", "a/b", "plain", "z<>&'\""]


def page(*entries: str, more: str = "") -> bytes:
    contents = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in entries)
    return f'<ListBucketResult xmlns="urn:x">{more}{contents}</ListBucketResult>'.encode()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (page(), Page((), ())),
        (page("a b+c%41", "&#252;"), Page(("a b+c%41", "ü"), ())),
        (page("a+b%2Bc", more="<EncodingType>url</EncodingType>"), Page(("a b+c",), ())),
        (
            page("a", more="<IsTruncated>true</IsTruncated><NextContinuationToken>a+b%41=</NextContinuationToken>"),
            Page(("a",), (("continuation-token", "a+b%41="),)),
        ),
        (page("a", more="<NextContinuationToken>t</NextContinuationToken>"), Page(("a",), ())),
    ],
)
def test_a_page_is_read_when_it_is_whole(body: bytes, expected: Page[str]) -> None:
    assert objects(body) == expected


@pytest.mark.parametrize(
    "body",
    [
        page("a", more="<IsTruncated>true</IsTruncated>"),
        *(page("&#1;"), page(""), b"<ListVersionsResult/>", b"<html></html>", b""),
    ],
)
def test_a_page_is_refused_when_a_part_of_it_would_be_lost(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        objects(body)


@asynccontextmanager
async def answering_by_query(bodies: Mapping[bytes, bytes]) -> AsyncIterator[str]:
    """A server that answers with the first of `bodies` whose name is in the request's query."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0]
        writer.write(ok(next(body for name, body in bodies.items() if name in query), "Connection: close"))

    async with listening(connected) as port:
        yield f"http://127.0.0.1:{port}"


async def keys_of(bucket: S3Bucket) -> list[str]:
    return sorted([key async for page in bucket.pages() for key in page])


async def test_keys_are_whole_when_a_real_server_lists_them(account: StoreAccount) -> None:
    client = account.boto3()
    for key in [*(PREFIX + key for key in KEYS), "outside", "of our"]:
        client.put_object(Bucket=account.s3_bucket_name, Key=key, Body=b"x")
    async with s3_buckets(account, prefix=PREFIX, pause_seconds=0.01) as [found]:
        assert await keys_of(found) == sorted(PREFIX + key for key in KEYS)
    async with s3_buckets(account, pause_seconds=0.01) as [found]:
        assert len(await keys_of(found)) == len(KEYS) + 2


async def test_every_page_is_listed_when_there_are_several(account: StoreAccount) -> None:
    client = account.boto3()
    expected = [f"listed/{number:04} ä+b" for number in range(1001)]
    for key in expected:
        client.put_object(Bucket=account.s3_bucket_name, Key=key, Body=b"")
    async with s3_buckets(account, pause_seconds=0.01) as [found]:
        pages = [list(page) async for page in found.pages()]
    assert [len(page) for page in pages] == [1000, 1]
    assert sorted(key for page in pages for key in page) == expected


@pytest.mark.parametrize("body", [bytes_of(10), LARGE], ids=["one part", "several"])
async def test_an_object_is_described_when_it_was_one_part_or_several(
    body: bytes, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    bucket, description = await open_bucket(account, prefix=PREFIX), described()
    stored = await (upload(bucket, description, body) if body is LARGE else bucket.put(description, part_of(body)))
    found = await bucket.look(f"{PREFIX}k")
    assert found is not None
    assert (found.size, found.content_type) == (len(body), description.content_type)
    assert dict(found.metadata) == description.metadata
    assert found.crc64nvme == crc64nvme(body)
    assert (found.stored.etag, found.stored.version_id) == (stored.etag, stored.version_id)
    assert found.stored.object_key == stored.object_key
    assert await bucket.look(f"{PREFIX}nothing") is None
    found = await (await open_bucket(account, prefix=PREFIX, checksums=False)).look(f"{PREFIX}k")
    assert found is not None
    assert (found.crc64nvme, found.stored.checked_by) == (None, "md5")


async def test_a_listing_continues_when_an_account_fails_sometimes(account: StoreAccount, proxy: FaultProxy) -> None:
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key="k", Body=b"x")
    proxy.add(Fault.refuses("SlowDown", times=2), Fault.drops_connection(times=1))
    async with s3_buckets(proxy.account, pause_seconds=0.01) as [found]:
        assert await keys_of(found) == ["k"]
        proxy.add(Fault.refuses("InternalError", times=3))
        assert await found.look("k") is not None


async def test_the_account_s_error_is_raised_when_it_fails_always(proxy: FaultProxy) -> None:
    async with s3_buckets(proxy.account, pause_seconds=0.01) as [found]:
        proxy.add(Fault.refuses("AccessDenied", times=1))
        with pytest.raises(AccessRefusedError, match="s3:ListBucket"):
            await keys_of(found)
        proxy.add(Fault.refuses("InternalError", times=None))
        with pytest.raises(AccountFailingError):
            await keys_of(found)
        proxy.clear()
        proxy.add(Fault.drops_connection(times=None))
        with pytest.raises(AccountUnreachableError):
            await found.look("k")


async def test_a_page_is_requested_again_when_plain_xml_cannot_contain_a_key(
    account: StoreAccount, open_bucket: OpenBucket
) -> None:
    encoded = page("%01+x", "k", more="<EncodingType>url</EncodingType>")
    answers = {b"encoding-type=url": encoded, b"list-type": page("&#1; x", "k")}
    async with answering_by_query(answers) as address:
        assert await keys_of(await open_bucket(account.at(address))) == ["\x01 x", "k"]


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Sign in</body></html>",
        page("k", more="<IsTruncated>true</IsTruncated><NextContinuationToken>the same</NextContinuationToken>"),
    ],
    ids=["a page of another kind", "no end"],
)
async def test_a_listing_fails_when_its_pages_are_wrong(
    account: StoreAccount, open_bucket: OpenBucket, body: bytes
) -> None:
    async with answering_by_query({b"list-type": body}) as address:
        bucket = await open_bucket(account.at(address))
        with pytest.raises(AccountFailingError):
            await keys_of(bucket)

"""What the tests of the S3 client share: buckets at a real server, a fault proxy or any address; and refusals."""

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import boto3
import pytest

from file.logic.errors import AccountError
from file.logic.values import Account, Digests, ObjectDescription, Stored
from file.s3.bucket import S3Bucket
from file.s3.client import Network
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from tests.buckets import WAYS, s3_buckets
from tests.files import PART_BYTES, bytes_of, digests_of, parts_of

OpenBucket = Callable[..., Awaitable[S3Bucket]]
LARGE = bytes_of(PART_BYTES + 1)
SMALL = b"content"


def aws_account(**changes: Any) -> Account:
    """An account on AWS, with these attributes changed."""
    attributes = {
        "name": "A",
        "access_key_id": "AKIDEXAMPLE",
        "secret_access_key": "SECRETEXAMPLE",
        "region_name": "eu-central-1",
        "s3_bucket_name": "bucket-a",
    }
    return Account(**(attributes | changes))


def all_regions() -> list[str]:
    """All regions of AWS that botocore knows."""
    session = boto3.Session()
    partitions = session.get_available_partitions()
    regions = {region for partition in partitions for region in session.get_available_regions("s3", partition)}
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1", "us-iso-east-1"} <= regions
    return sorted(regions)


@pytest.fixture
def account(accounts: dict[str, StoreAccount]) -> StoreAccount:
    return accounts["A"]


@pytest.fixture
def proxy(proxied: Callable[[str], FaultProxy]) -> FaultProxy:
    """A running fault proxy in front of `account`."""
    return proxied("A")


@pytest.fixture
async def bucket(account: StoreAccount, open_bucket: OpenBucket) -> S3Bucket:
    return await open_bucket(account)


@pytest.fixture
async def proxied_bucket(proxy: FaultProxy, open_bucket: OpenBucket) -> S3Bucket:
    """The bucket of `account`, through `proxy`."""
    return await open_bucket(proxy.account)


@pytest.fixture
def way() -> Network:
    """How the requests are sent; `both_ways` runs a test once for each."""
    return Network()


both_ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.fixture
async def open_bucket(way: Network) -> AsyncIterator[OpenBucket]:
    """`await open_bucket(account, **json)`: its bucket, closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_one(store: StoreAccount, **options: Any) -> S3Bucket:
            [bucket] = await stack.enter_async_context(s3_buckets(store, **{"network": way, **options}))
            return bucket

        yield open_one


async def refusal(bucket: S3Bucket, request: Awaitable[object]) -> AccountError:
    """The error with which `request` ends. No secret is in anything that could be logged of it."""
    try:
        await request
    except AccountError as error:
        account = bucket.account
        shown = [*_texts(error), repr(account), repr(bucket), repr(bucket.client), repr(vars(bucket.client))]
        secrets = [account.secret_access_key, account.access_key_id, account.session_token, "Signature="]
        assert not [secret for secret in secrets if secret and any(secret in text for text in shown)]
        return error
    pytest.fail("It was not refused.")


def _texts(error: BaseException | None) -> list[str]:
    """All texts of an error and of the errors that caused it."""
    if error is None:
        return []
    own = [str(error), repr(error), repr(error.args), repr(vars(error)), "".join(traceback.format_exception(error))]
    return [*own, *_texts(error.__cause__), *_texts(error.__context__)]


def head(account: StoreAccount, key: str = "k", **more: Any) -> dict[str, Any]:
    """The object under the key, as boto3 sees it."""
    found: dict[str, Any] = account.boto3().head_object(Bucket=account.s3_bucket_name, Key=key, **more)
    return found


async def upload(
    bucket: S3Bucket, description: ObjectDescription, body: bytes = LARGE, digests: Digests | None = None
) -> Stored:
    """A multipart upload from beginning to end."""
    begun = await bucket.begin(description)
    for part in parts_of(body):
        await begun.send(part)
    return await begun.complete(digests or digests_of(body))


async def read_whole(bucket: S3Bucket, stored: Stored, file_id: str, size: int) -> bytes:
    async with bucket.read(stored, file_id=file_id, start=0, stop=size, size=size) as pieces:
        return b"".join([piece async for piece in pieces])

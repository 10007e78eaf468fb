"""What the tests of the wire share: a bucket at a real server, at a fault proxy, or at any address; and refusals."""

import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from file.logic.errors import AccountError
from file.logic.values import ObjectDescription, Stored
from file.s3.bucket import S3Bucket
from testkit.account import StoreAccount
from tests.buckets import s3_buckets
from tests.files import PART_BYTES, bytes_of, digests_of, parts_of

OpenBucket = Callable[..., Awaitable[S3Bucket]]
LARGE = bytes_of(PART_BYTES + 1)
SMALL = b"content"


@pytest.fixture
async def open_bucket() -> AsyncIterator[OpenBucket]:
    """`await open_bucket(account, **json)`: its bucket, closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_one(store: StoreAccount, **options: Any) -> S3Bucket:
            [bucket] = await stack.enter_async_context(s3_buckets(store, **options))
            return bucket

        yield open_one


async def refusal(bucket: S3Bucket, request: Awaitable[object]) -> AccountError:
    """The error with which `request` ends. No secret is in anything that could be logged of it."""
    try:
        await request
    except AccountError as error:
        shown = [*_texts(error), repr(bucket.account), repr(bucket), repr(bucket.client), repr(vars(bucket.client))]
        account = bucket.account
        secrets = [account.secret_access_key, account.access_key_id, account.session_token, "Signature="]
        for secret in filter(None, secrets):
            assert not any(secret in text for text in shown)
        return error
    pytest.fail("It was not refused.")


def _texts(error: BaseException | None) -> list[str]:
    """What an error and all errors behind it say of themselves, in every way of saying it."""
    if error is None:
        return []
    own = [str(error), repr(error), repr(error.args), repr(vars(error)), "".join(traceback.format_exception(error))]
    return [*own, *_texts(error.__cause__), *_texts(error.__context__)]


def head(account: StoreAccount, key: str = "k", **more: Any) -> dict[str, Any]:
    """What lies under the key, as boto3 sees it."""
    found: dict[str, Any] = account.boto3().head_object(Bucket=account.s3_bucket_name, Key=key, **more)
    return found


async def upload(bucket: S3Bucket, description: ObjectDescription, body: bytes = LARGE) -> Stored:
    """A multipart upload from beginning to end."""
    begun = await bucket.begin(description)
    for part in parts_of(body):
        await begun.send(part)
    return await begun.complete(digests_of(body))

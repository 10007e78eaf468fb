"""What the contract is asked of: a bucket, and a way to look inside it and to act in it as somebody else.

The memory bucket is looked into directly, the real one with boto3. Both start empty.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import pytest

from file.logic.ports import StorageAccount
from file.logic.values import CONTENT_HEADERS
from testkit.account import StoreAccount
from testkit.memorybucket import MemoryBucket, MemoryObject, OpenUpload
from tests.buckets import NewBucket, s3_buckets

PREFIX = "of our own/"


@dataclass(frozen=True)
class Found:
    """An object as it lies in the bucket."""

    body: bytes
    content_type: str
    metadata: dict[str, str]
    content_headers: dict[str, str] = field(default_factory=dict)


class Inside(Protocol):
    """A bucket from inside. Keys are whole, the account's prefix included."""

    bucket: StorageAccount

    def listed(self, key: str) -> str:
        """How the store spells the key in its listings."""

    def objects(self) -> dict[str, Found]:
        """The current object of every key."""

    def open_uploads(self) -> list[str]:
        """The keys of the open multipart uploads."""

    def put(self, key: str, body: bytes) -> None:
        """Store an object that is not ours."""

    def begin(self, key: str) -> None:
        """Open a multipart upload that is not ours."""

    def delete(self, key: str) -> None:
        """What an owner does who names no version."""


class InsideMemory:
    def __init__(self) -> None:
        self._bucket = MemoryBucket("A", prefix=PREFIX)
        self.bucket: StorageAccount = self._bucket

    def listed(self, key: str) -> str:
        return key

    def objects(self) -> dict[str, Found]:
        return {
            key: Found(found.body, found.content_type, found.metadata, found.content_headers)
            for key, found in self._bucket.objects.items()
        }

    def open_uploads(self) -> list[str]:
        return sorted(upload.key for upload in self._bucket.uploads.values())

    def put(self, key: str, body: bytes) -> None:
        self._bucket.objects[key] = MemoryObject(body, {}, "text/plain")

    def begin(self, key: str) -> None:
        self._bucket.uploads[f"a stranger's for {key}"] = OpenUpload(key, datetime.now(UTC))

    def delete(self, key: str) -> None:
        del self._bucket.objects[key]


class InsideS3:
    def __init__(self, bucket: StorageAccount, account: StoreAccount) -> None:
        self.bucket = bucket
        self._account = account
        self._client = account.boto3()
        self._where = {"Bucket": account.s3_bucket_name}

    def listed(self, key: str) -> str:
        return key.replace("//", "/")  # SeaweedFS takes and finds `a//b`, and lists it as `a/b`

    def objects(self) -> dict[str, Found]:
        listed = self._client.list_objects_v2(**self._where).get("Contents", [])
        return {each["Key"]: self._found(each["Key"]) for each in listed}

    def open_uploads(self) -> list[str]:
        return sorted(key for key, _ in self._account.contents().uploads)

    def put(self, key: str, body: bytes) -> None:
        self._client.put_object(**self._where, Key=key, Body=body)

    def begin(self, key: str) -> None:
        self._client.create_multipart_upload(**self._where, Key=key)

    def delete(self, key: str) -> None:
        self._client.delete_object(**self._where, Key=key)

    def _found(self, key: str) -> Found:
        answer: Any = self._client.get_object(**self._where, Key=key)
        told = answer["ResponseMetadata"]["HTTPHeaders"]
        content_headers = {name: told[name] for name in CONTENT_HEADERS if name in told}
        return Found(answer["Body"].read(), answer["ContentType"], answer["Metadata"], content_headers)


@pytest.fixture(scope="session")
def versioned(kept_bucket: NewBucket) -> StoreAccount:
    """Account A with a bucket that keeps versions."""
    return kept_bucket("A", "contract-versioned", versioned=True)


@pytest.fixture(params=["memory", "real", "versioned"])
def store_account(request: pytest.FixtureRequest) -> StoreAccount | None:
    """The real account to ask, or None for the memory bucket."""
    if request.param == "memory":
        return None
    account: StoreAccount = request.getfixturevalue("accounts")["A"]
    if request.param == "versioned":
        account = request.getfixturevalue("versioned")
        request.getfixturevalue("shared_store")[0].empty(account)
    return account


@pytest.fixture
async def inside(store_account: StoreAccount | None) -> AsyncIterator[Inside]:
    """The bucket under test, empty, with a prefix in its account's JSON."""
    if store_account is None:
        yield InsideMemory()
        return
    async with s3_buckets(store_account, prefix=PREFIX) as [bucket]:
        yield InsideS3(bucket, store_account)

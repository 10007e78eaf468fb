"""The bucket under test, empty, and direct access to it: to the memory bucket's attributes, or with boto3."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from file.logic.ports import StorageAccount, Upload
from file.logic.values import CONTENT_HEADERS, ObjectDescription, Stored
from file.s3.client import Network
from testkit.account import StoreAccount
from testkit.memorybucket import MemoryBucket, MemoryObject, OpenUpload
from tests.buckets import WAYS, NewBucket, s3_buckets
from tests.files import PART_BYTES, bytes_of, described, part_of, parts_of

PREFIX = "of our own/"
KEYS = ["k", "ü/ñ 空 +&?=%41#x", "a//b"]
LARGE = bytes_of(PART_BYTES + 1)


@dataclass(frozen=True)
class Found:
    """An object in the bucket."""

    body: bytes
    content_type: str
    metadata: dict[str, str]
    content_headers: dict[str, str] = field(default_factory=dict)


class InsideMemory:
    """The memory bucket, and direct access to it. Keys include the account's prefix."""

    def __init__(self) -> None:
        self._bucket = MemoryBucket("A", prefix=PREFIX)
        self.bucket: StorageAccount = self._bucket

    def listed(self, key: str) -> str:
        """The key as the store lists it."""
        return key

    def objects(self) -> dict[str, Found]:
        return {
            key: Found(found.body, found.content_type, found.metadata, found.content_headers)
            for key, found in self._bucket.objects.items()
        }

    def open_uploads(self) -> list[str]:
        return sorted(upload.key for upload in self._bucket.uploads.values())

    def put(self, key: str, body: bytes) -> None:
        """Store an object that is not ours."""
        self._bucket.objects[key] = MemoryObject(body, {}, "text/plain")

    def begin(self, key: str) -> None:
        """Open a multipart upload that is not ours."""
        self._bucket.uploads[f"a stranger's for {key}"] = OpenUpload(key, datetime.now(UTC))

    def delete(self, key: str) -> None:
        """Delete as an owner does: without a version."""
        del self._bucket.objects[key]


class InsideS3:
    """The same for a real bucket, with boto3."""

    def __init__(self, bucket: StorageAccount, account: StoreAccount) -> None:
        self.bucket, self._account, self._client = bucket, account, account.boto3()
        self._where = {"Bucket": account.s3_bucket_name}

    def listed(self, key: str) -> str:
        return key.replace("//", "/")  # SeaweedFS stores `a//b`, and lists it as `a/b`

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
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        content_headers = {name: headers[name] for name in CONTENT_HEADERS if name in headers}
        return Found(answer["Body"].read(), answer["ContentType"], answer["Metadata"], content_headers)


Inside = InsideMemory | InsideS3


@pytest.fixture(scope="session")
def versioned(kept_bucket: NewBucket) -> StoreAccount:
    """Account A with a bucket that keeps versions."""
    return kept_bucket("A", "contract-versioned", versioned=True)


@pytest.fixture(params=["memory", "real", "versioned", "by the HTTP client"])
def store(request: pytest.FixtureRequest) -> tuple[StoreAccount, Network] | None:
    """The real account to ask, and how; None for the memory bucket."""
    if request.param == "memory":
        return None
    account: StoreAccount = request.getfixturevalue("accounts")["A"]
    if request.param == "versioned":
        account = request.getfixturevalue("versioned")
        request.getfixturevalue("shared_store")[0].empty(account)
    return account, WAYS["HTTP client" if request.param == "by the HTTP client" else "own connections"]


@pytest.fixture
async def inside(store: tuple[StoreAccount, Network] | None) -> AsyncIterator[Inside]:
    """The bucket under test, empty, with a prefix in its account's JSON."""
    if store is None:
        yield InsideMemory()
        return
    store_account, network = store
    async with s3_buckets(store_account, network=network, prefix=PREFIX) as [bucket]:
        yield InsideS3(bucket, store_account)


async def begun(bucket: StorageAccount, description: ObjectDescription, body: bytes = LARGE) -> Upload:
    """An upload with all its parts sent."""
    upload = await bucket.begin(description)
    for part in parts_of(body):
        await upload.send(part)
    return upload


async def put(
    inside: Inside, content: bytes = b"content", key: str = "k", **changes: Any
) -> tuple[Stored, ObjectDescription]:
    """A file in one put: what the bucket returned, and the description that it got."""
    description = described(key, **changes)
    return await inside.bucket.put(description, part_of(content)), description

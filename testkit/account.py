"""One account of a store: to configure the service with it, and to examine its bucket.

It uses boto3 on purpose: tests never examine an account with the service's own S3 client.
"""

import functools
import json
import threading
from dataclasses import dataclass, field, replace
from typing import Any

import boto3  # type: ignore[import-untyped,unused-ignore]
from botocore.config import Config  # type: ignore[import-untyped,unused-ignore]

# Loading S3's model takes a tenth of a second; a session caches it. Clients are thread-safe, creating them is not.
_making = threading.Lock()
_session = functools.cache(boto3.session.Session)


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of a bucket: versions (including delete markers) and open multipart uploads, each as (key, id)."""

    versions: list[tuple[str, str]]
    uploads: list[tuple[str, str]]

    def __bool__(self) -> bool:
        return bool(self.versions or self.uploads)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAccount:
    """The credentials of one account, and the address of its bucket."""

    name: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    region_name: str
    s3_bucket_name: str
    endpoint_url: str

    def environment(self) -> dict[str, str]:
        """The variable that configures this account in the service."""
        value = {
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
            "region_name": self.region_name,
            "s3_bucket_name": self.s3_bucket_name,
            "endpoint_url": self.endpoint_url,
            "allow_http": True,
        }
        return {f"AWS_ACCOUNT_{self.name}": json.dumps(value)}

    def at(self, endpoint_url: str) -> "StoreAccount":
        """The same account at another address, for example of a fault proxy."""
        return replace(self, endpoint_url=endpoint_url)

    def boto3(self, *, read_timeout_seconds: float = 10.0) -> Any:
        """An S3 client with these credentials: without retries and proxies of the environment, with short timeouts."""
        config = Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=read_timeout_seconds,
            proxies={},
        )
        with _making:
            return _session().client(
                "s3",
                aws_access_key_id=self.access_key_id,
                aws_secret_access_key=self.secret_access_key,
                region_name=self.region_name,
                endpoint_url=self.endpoint_url,
                config=config,
            )

    def contents(self) -> Contents:
        """Lists the whole content of the bucket with the account's own keys."""
        client, bucket = _asking(self), self.s3_bucket_name
        versions: list[tuple[str, str]] = []
        for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = page.get("Versions", []) + page.get("DeleteMarkers", [])
            versions += [(each["Key"], each["VersionId"]) for each in found]
        uploads: list[tuple[str, str]] = []
        for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
            uploads += [(each["Key"], each["UploadId"]) for each in page.get("Uploads", [])]
        return Contents(versions, uploads)

    def empty(self) -> None:
        """Removes everything from the bucket, also objects of others."""
        client, bucket, contents = _asking(self), self.s3_bucket_name, self.contents()
        for key, upload_id in contents.uploads:
            client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        for key, version_id in contents.versions:
            client.delete_object(Bucket=bucket, Key=key, VersionId=version_id)


@functools.lru_cache(maxsize=64)
def _asking(account: StoreAccount) -> Any:
    """The client for this class; it is kept, because creating one takes longer than a request."""
    return account.boto3()

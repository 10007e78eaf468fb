"""An account as its owner sees and changes it: with boto3, not with the service's own client."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from testkit.account import StoreAccount


@cache
def asking(account: StoreAccount) -> Any:
    """The account's boto3 client; it is kept, because creating one takes longer than a request."""
    return account.boto3()


def delete(account: StoreAccount, key: str = "k") -> None:
    asking(account).delete_object(Bucket=account.s3_bucket_name, Key=key)


def overwrite(account: StoreAccount, body: bytes, key: str = "k", **options: Any) -> str | None:
    """Returns the version, if the bucket keeps versions."""
    answer = asking(account).put_object(Bucket=account.s3_bucket_name, Key=key, Body=body, **options)
    version: str | None = answer.get("VersionId")
    return version


def begin_upload(account: StoreAccount, key: str = "k") -> str:
    """Opens a multipart upload and returns its id."""
    answer = asking(account).create_multipart_upload(Bucket=account.s3_bucket_name, Key=key)
    upload_id: str = answer["UploadId"]
    return upload_id


def head_of(account: StoreAccount, key: str = "k", **options: Any) -> dict[str, Any]:
    found: dict[str, Any] = asking(account).head_object(Bucket=account.s3_bucket_name, Key=key, **options)
    return found


def metadata_of(account: StoreAccount, key: str = "k") -> dict[str, str]:
    """The service's metadata, and the sender's."""
    found: dict[str, str] = head_of(account, key)["Metadata"]
    return found


def body_of(account: StoreAccount, key: str = "k") -> bytes:
    body: bytes = asking(account).get_object(Bucket=account.s3_bucket_name, Key=key)["Body"].read()
    return body


def keys_in(account: StoreAccount) -> list[str]:
    """The key of every version and delete marker, sorted."""
    return sorted(key for key, _ in account.contents().versions)


def assert_nothing_left(accounts: Iterable[StoreAccount]) -> None:
    """No object, no version, no delete marker, no open upload."""
    for account in accounts:
        contents = account.contents()
        assert not contents, f"{account.name}: {contents}"


def assert_stored(accounts: Iterable[StoreAccount], bodies: Mapping[str, bytes]) -> None:
    """Exactly these objects, and no open upload."""
    for account in accounts:
        contents = account.contents()
        assert contents.uploads == [], account.name
        assert sorted(key for key, _ in contents.versions) == sorted(bodies), account.name
        for key, body in bodies.items():
            assert body_of(account, key) == body, f"{account.name}: {key} differs"

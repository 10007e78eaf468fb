"""Our requests, as a real S3 server accepts or refuses them. Boto3 shows what is in the account then."""

import dataclasses

import pytest

from file.logic.errors import AccessRefusedError, BucketMissingError, KeyOccupiedError, PartRefusedError
from file.logic.values import checksum_text
from file.s3.bucket import S3Bucket
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.files import described, digests_of, part_of
from tests.unit.s3.conftest import LARGE, SMALL, OpenBucket, head, refusal, upload


async def test_checksum_is_kept_when_a_file_is_put(account: StoreAccount, bucket: S3Bucket) -> None:
    stored = await bucket.put(described(), part_of(SMALL))
    found = head(account, ChecksumMode="ENABLED")
    assert found["ChecksumCRC64NVME"] == checksum_text(digests_of(SMALL).crc64nvme)
    assert found["ETag"] == stored.etag
    assert (stored.version_id, stored.checked_by) == (None, "crc64nvme")
    assert stored.request_id


async def test_checksum_is_that_of_the_whole_when_a_file_of_many_parts_is_completed(
    account: StoreAccount, bucket: S3Bucket
) -> None:
    stored = await upload(bucket, described())
    found = head(account, ChecksumMode="ENABLED")
    assert found["ChecksumCRC64NVME"] == checksum_text(digests_of(LARGE).crc64nvme)
    assert found["ChecksumType"] == "FULL_OBJECT"
    assert found["ETag"] == stored.etag


async def test_complete_is_refused_when_the_whole_has_another_checksum(account: StoreAccount, bucket: S3Bucket) -> None:
    wrong = dataclasses.replace(digests_of(LARGE), crc64nvme=1)
    assert isinstance(await refusal(bucket, upload(bucket, described(), digests=wrong)), PartRefusedError)
    assert account.contents().versions == []


async def test_version_is_returned_when_the_bucket_keeps_versions(
    new_bucket: NewBucket, open_bucket: OpenBucket
) -> None:
    account = new_bucket("A", "wire-versioned", versioned=True)
    bucket = await open_bucket(account)
    stored = [await bucket.put(described("one"), part_of(SMALL)), await upload(bucket, described("many"))]
    versions = sorted(account.contents().versions, reverse=True)
    assert [(each.object_key, each.version_id) for each in stored] == versions


async def test_writes_are_conditional_when_nothing_else_is_configured(
    proxy: FaultProxy, proxied_bucket: S3Bucket
) -> None:
    begun = await proxied_bucket.begin(described())
    await begun.send(part_of(SMALL))
    await proxied_bucket.put(described(), part_of(SMALL))
    for request in (proxied_bucket.put(described(), part_of(SMALL)), begun.complete(digests_of(SMALL))):
        error = await refusal(proxied_bucket, request)
        assert isinstance(error, KeyOccupiedError)
        assert str(error) == "Account A already has another object under this key; that object was not changed."
    asked = [*proxy.seen("put"), *proxy.seen("complete")]
    assert [seen.headers.get("if-none-match") for seen in asked] == ["*"] * 3
    assert [seen.status for seen in asked] == [200, 412, 412]


async def test_the_key_is_examined_when_an_account_has_no_conditional_writes(
    proxy: FaultProxy, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(proxy.account, conditional_writes=False)
    description = described()
    await bucket.put(description, part_of(SMALL))
    assert isinstance(await refusal(bucket, bucket.put(described(), part_of(SMALL))), KeyOccupiedError)
    await upload(bucket, described("many"))
    await bucket.remove(description.key, description.file_id)
    assert [key for key, _ in account.contents().versions] == ["many"]
    assert not any({"if-none-match", "if-match"} & seen.headers.keys() for seen in proxy.requests)
    assert len(proxy.seen("put")) == 1


# --- credentials


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        (
            {"secret_access_key": "wrong-secret-0123456789"},
            "its secret_access_key does not belong to its access_key_id (SignatureDoesNotMatch)",
        ),
        ({"access_key_id": "AKUNKNOWN"}, "its access_key_id is not known there (InvalidAccessKeyId)"),
        (
            {"s3_bucket_name": "bucket-of-another"},
            "they may not do s3:PutObject on bucket bucket-of-another (AccessDenied)",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_refusal_names_the_cause_when_the_credentials_are_wrong(
    changes: dict[str, str], cause: str, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(dataclasses.replace(account, **changes))
    error = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, AccessRefusedError)
    assert str(error) == f"Account A refused our credentials: {cause}."
    assert isinstance(await refusal(bucket, bucket.probe()), AccessRefusedError)
    assert not account.contents()


async def test_refusal_names_both_actions_when_the_answer_to_a_head_has_no_code(
    account: StoreAccount, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(dataclasses.replace(account, s3_bucket_name="bucket-of-another"))
    error = await refusal(bucket, bucket.begin(described()))
    assert isinstance(error, AccessRefusedError)
    assert str(error) == (
        "Account A refused our credentials: they may not do s3:GetObject and s3:ListBucket on bucket "
        "bucket-of-another (status 403)."
    )


async def test_bucket_is_missing_when_it_was_deleted(kept_bucket: NewBucket, open_bucket: OpenBucket) -> None:
    account = kept_bucket("A", "wire-gone")
    bucket = await open_bucket(account)
    await bucket.probe()
    account.boto3().delete_bucket(Bucket="wire-gone")
    for request in (bucket.put(described(), part_of(SMALL)), bucket.begin(described()), bucket.probe()):
        error = await refusal(bucket, request)
        assert isinstance(error, BucketMissingError), error
        assert str(error) == "Account A has no bucket of the configured name (s3_bucket_name) (NoSuchBucket)."


# --- options in the account's JSON


async def test_md5_and_the_storage_class_are_sent_when_an_account_has_no_checksums(
    proxy: FaultProxy, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(proxy.account, checksums=False, storage_class="STANDARD_IA")
    stored = [await bucket.put(described("one"), part_of(SMALL)), await upload(bucket, described("many"))]
    assert [each.checked_by for each in stored] == ["md5", "md5"]
    assert all("content-md5" in seen.headers for seen in [*proxy.seen("put"), *proxy.seen("part")])
    assert not any("checksum" in name for seen in proxy.requests for name in seen.headers)
    found = head(account, "many")
    assert (found["ContentLength"], found["StorageClass"]) == (len(LARGE), "STANDARD_IA")


async def test_the_options_of_the_account_are_sent_when_a_file_is_put_or_begun(
    proxy: FaultProxy, open_bucket: OpenBucket
) -> None:
    refused = [Fault.refuses("AccessDenied", operation=operation) for operation in ("put", "begin")]
    proxy.add(*refused, Fault.refuses("NoSuchKey", operation="head"))
    options = {
        "server_side_encryption": "aws:kms",
        "kms_key_id": "arn:aws:kms:eu-central-1:123456789012:key/1",
        "storage_class": "STANDARD_IA",
        "expected_bucket_owner": "123456789012",
        "session_token": "the/session+token==",
    }
    bucket = await open_bucket(proxy.account, prefix="ours/", **options)
    for request in (bucket.put(described(), part_of(SMALL)), bucket.begin(described())):
        cause = "kms:GenerateDataKey and kms:Decrypt with its kms_key_id, or the bucket belongs to another"
        assert cause in str(await refusal(bucket, request))
    assert [seen.operation for seen in proxy.requests] == ["put", "head", "begin"]
    for seen in proxy.requests:
        assert seen.key == "ours/k"
        names = {"x-amz-expected-bucket-owner": "expected_bucket_owner", "x-amz-security-token": "session_token"}
        if seen.operation != "head":
            names["x-amz-server-side-encryption"] = "server_side_encryption"
            names["x-amz-server-side-encryption-aws-kms-key-id"] = "kms_key_id"
            names["x-amz-storage-class"] = "storage_class"
        assert {name: seen.headers.get(name) for name in names} == {name: options[key] for name, key in names.items()}
        signed = seen.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        assert {*names, "host"} <= set(signed)

"""Our requests as a real S3 server takes and refuses them; what it has then is asked with boto3."""

import dataclasses
from collections.abc import Callable

from file.logic.errors import (
    AccessRefusedError,
    BucketMissingError,
    KeyOccupiedError,
    PartRefusedError,
)
from file.logic.values import FILE_ID, checksum_text
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket
from tests.files import described, digests_of, part_of, parts_of
from tests.unit.s3.conftest import LARGE, SMALL, OpenBucket, head, refusal, upload

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]


async def test_checksum_is_kept_when_a_file_is_put(accounts: Accounts, open_bucket: OpenBucket) -> None:
    bucket = await open_bucket(accounts["A"])
    stored = await bucket.put(described(), part_of(SMALL))
    found = head(accounts["A"], ChecksumMode="ENABLED")
    assert found["ChecksumCRC64NVME"] == checksum_text(digests_of(SMALL).crc64nvme)
    assert found["ETag"] == stored.etag
    assert (stored.version_id, stored.checked_by) == (None, "crc64nvme")
    assert stored.request_id


async def test_checksum_is_that_of_the_whole_when_a_file_of_many_parts_is_completed(
    accounts: Accounts, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(accounts["A"])
    stored = await upload(bucket, described())
    found = head(accounts["A"], ChecksumMode="ENABLED")
    assert found["ChecksumCRC64NVME"] == checksum_text(digests_of(LARGE).crc64nvme)
    assert found["ChecksumType"] == "FULL_OBJECT"
    assert found["ETag"] == stored.etag


async def test_complete_is_refused_when_the_whole_has_another_checksum(
    accounts: Accounts, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(accounts["A"])
    begun = await bucket.begin(described())
    for part in parts_of(LARGE):
        await begun.send(part)
    wrong = dataclasses.replace(digests_of(LARGE), crc64nvme=1)
    error = await refusal(bucket, begun.complete(wrong))
    assert isinstance(error, PartRefusedError)
    assert accounts["A"].contents().versions == []


async def test_version_is_told_when_the_bucket_keeps_versions(
    new_bucket: NewBucket, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    account = new_bucket("A", "wire-versioned", versioned=True)
    bucket = await open_bucket(account)
    one, many = described("one"), described("many")
    told = [(await bucket.put(one, part_of(SMALL))), (await upload(bucket, many))]
    assert [(stored.object_key, stored.version_id) for stored in told] == sorted(
        account.contents().versions, reverse=True
    )


async def test_writes_are_conditional_when_nothing_else_is_said(proxied: Proxied, open_bucket: OpenBucket) -> None:
    proxy = proxied("A")
    bucket = await open_bucket(proxy.account)
    begun = await bucket.begin(described())
    await begun.send(part_of(SMALL))
    await bucket.put(described(), part_of(SMALL))
    refused = [
        await refusal(bucket, bucket.put(described(), part_of(SMALL))),
        await refusal(bucket, begun.complete(digests_of(SMALL))),
    ]
    for error in refused:
        assert isinstance(error, KeyOccupiedError)
        assert str(error) == "Account A already has another object under this key; that object was not changed."
    asked = [*proxy.seen("put"), *proxy.seen("complete")]
    assert [seen.headers.get("if-none-match") for seen in asked] == ["*"] * 3
    assert [seen.status for seen in asked] == [200, 412, 412]


async def test_the_key_is_looked_at_when_an_account_has_no_conditional_writes(
    proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    bucket = await open_bucket(proxy.account, conditional_writes=False)
    description = described()
    await bucket.put(description, part_of(SMALL))
    assert isinstance(await refusal(bucket, bucket.put(described(), part_of(SMALL))), KeyOccupiedError)
    await upload(bucket, described("many"))
    await bucket.remove(description.key, description.file_id)
    assert [key for key, _ in accounts["A"].contents().versions] == ["many"]
    conditions = {"if-none-match", "if-match"}
    assert not any(conditions & seen.headers.keys() for seen in proxy.requests)
    assert len(proxy.seen("put")) == 1


# --- who may


async def test_refusal_names_the_secret_when_it_is_wrong(accounts: Accounts, open_bucket: OpenBucket) -> None:
    bucket = await open_bucket(dataclasses.replace(accounts["A"], secret_access_key="wrong-secret-0123456789"))
    error = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, AccessRefusedError)
    assert str(error) == (
        "Account A refused our credentials: its secret_access_key does not belong to its access_key_id "
        "(SignatureDoesNotMatch)."
    )
    assert not accounts["A"].contents()


async def test_refusal_names_the_key_id_when_it_is_unknown(accounts: Accounts, open_bucket: OpenBucket) -> None:
    bucket = await open_bucket(dataclasses.replace(accounts["A"], access_key_id="AKUNKNOWN"))
    error = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, AccessRefusedError)
    assert str(error) == (
        "Account A refused our credentials: its access_key_id is not known there (InvalidAccessKeyId)."
    )


async def test_refusal_names_action_and_bucket_when_it_is_another_accounts(
    accounts: Accounts, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(dataclasses.replace(accounts["A"], s3_bucket_name="bucket-of-another"))
    error = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, AccessRefusedError)
    assert str(error) == (
        "Account A refused our credentials: they may not do s3:PutObject on bucket bucket-of-another (AccessDenied)."
    )
    error = await refusal(bucket, bucket.begin(described()))
    assert isinstance(error, AccessRefusedError)  # a HEAD's answer has no code
    assert str(error) == (
        "Account A refused our credentials: they may not do s3:GetObject and s3:ListBucket on bucket "
        "bucket-of-another (status 403)."
    )


async def test_bucket_is_missing_when_it_is_gone(
    kept_bucket: NewBucket, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    account = kept_bucket("A", "wire-gone")
    account.boto3().delete_bucket(Bucket="wire-gone")
    bucket = await open_bucket(account)
    for request in (bucket.put(described(), part_of(SMALL)), bucket.begin(described()), bucket.probe()):
        error = await refusal(bucket, request)
        assert isinstance(error, BucketMissingError), error
        assert str(error) == "Account A has no bucket of the configured name (s3_bucket_name) (NoSuchBucket)."


async def test_probe_tells_how_an_account_is_when_it_is_asked(accounts: Accounts, open_bucket: OpenBucket) -> None:
    await (await open_bucket(accounts["A"])).probe()
    bucket = await open_bucket(dataclasses.replace(accounts["A"], secret_access_key="wrong"))
    assert isinstance(await refusal(bucket, bucket.probe()), AccessRefusedError)


# --- what an account may say in its JSON


async def test_md5_is_sent_when_an_account_has_no_checksums(
    proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    bucket = await open_bucket(proxy.account, checksums=False)
    told = [await bucket.put(described("one"), part_of(SMALL)), await upload(bucket, described("many"))]
    assert [stored.checked_by for stored in told] == ["md5", "md5"]
    assert all("content-md5" in seen.headers for seen in [*proxy.seen("put"), *proxy.seen("part")])
    assert not any("checksum" in name for seen in proxy.requests for name in seen.headers)
    assert head(accounts["A"], "many")["ContentLength"] == len(LARGE)


async def test_what_the_account_says_is_sent_when_a_file_is_put_or_begun(
    proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    refused = [Fault.refuses("AccessDenied", operation=operation) for operation in ("put", "begin")]
    proxy.add(*refused, Fault.refuses("NoSuchKey", operation="head"))
    said = {
        "server_side_encryption": "aws:kms",
        "kms_key_id": "arn:aws:kms:eu-central-1:123456789012:key/1",
        "storage_class": "STANDARD_IA",
        "expected_bucket_owner": "123456789012",
        "session_token": "the/session+token==",
    }
    bucket = await open_bucket(proxy.account, prefix="ours/", **said)
    put = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    begun = await refusal(bucket, bucket.begin(described()))
    for error in (put, begun):
        assert "kms:GenerateDataKey and kms:Decrypt with its kms_key_id, or the bucket belongs to another" in str(error)
    assert [seen.operation for seen in proxy.requests] == ["put", "head", "begin"]
    for seen in proxy.requests:
        assert seen.key == "ours/k"
        names = {"x-amz-expected-bucket-owner": "expected_bucket_owner", "x-amz-security-token": "session_token"}
        if seen.operation != "head":
            names["x-amz-server-side-encryption"] = "server_side_encryption"
            names["x-amz-server-side-encryption-aws-kms-key-id"] = "kms_key_id"
            names["x-amz-storage-class"] = "storage_class"
        assert {name: seen.headers.get(name) for name in names} == {name: said[key] for name, key in names.items()}
        signed = seen.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        assert {*names, "host"} <= set(signed)


async def test_file_lies_under_the_prefix_when_the_account_has_one(accounts: Accounts, open_bucket: OpenBucket) -> None:
    bucket = await open_bucket(accounts["A"], prefix="ours/ü ", storage_class="STANDARD_IA")
    description = described("a b")
    stored = await bucket.put(description, part_of(SMALL))
    assert stored.object_key == "ours/ü a b"
    found = head(accounts["A"], "ours/ü a b")
    assert found["StorageClass"] == "STANDARD_IA"
    assert found["Metadata"][FILE_ID] == description.file_id

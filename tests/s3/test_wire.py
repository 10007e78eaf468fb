"""Our requests as a real S3 server takes and refuses them; what it has then is asked with boto3.

Answers that the test server does not give (a moved bucket, a wrong clock, nonsense) come from the fault proxy or from a
server of nonsense.
"""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from file.logic.errors import (
    AccessRefusedError,
    AccountFailingError,
    AccountThrottledError,
    AccountUnreachableError,
    BucketMissingError,
    KeyOccupiedError,
    PartRefusedError,
    WrongRegionError,
)
from file.logic.values import FILE_ID, ObjectDescription, Stored, checksum_text
from file.s3.bucket import S3Bucket
from stores.account import StoreAccount
from stores.faultproxy import FaultProxy
from stores.faults import Fault
from stores.seaweed import Seaweed
from tests.files import PART_BYTES, bytes_of, described, digests_of, part_of, parts_of
from tests.s3.conftest import OpenBucket, refusal
from tests.s3.rawserver import answering, ok

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]
LARGE = bytes_of(PART_BYTES + 1)
SMALL = b"content"


def head(account: StoreAccount, key: str = "k", **more: Any) -> dict[str, Any]:
    """What lies under the key, as boto3 sees it."""
    found: dict[str, Any] = account.boto3().head_object(Bucket=account.s3_bucket_name, Key=key, **more)
    return found


async def upload(bucket: S3Bucket, description: ObjectDescription, body: bytes = LARGE) -> Stored:
    begun = await bucket.begin(description)
    for part in parts_of(body):
        await begun.send(part)
    return await begun.complete(digests_of(body))


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
    stores: dict[str, Seaweed], accounts: Accounts, open_bucket: OpenBucket
) -> None:
    account = stores["A"].create_bucket("wire-versioned", versioned=True)
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
        assert str(error) == "Account A already has another object under this key."
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
    await bucket.remove(description)
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
    stores: dict[str, Seaweed], accounts: Accounts, open_bucket: OpenBucket
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
    stores: dict[str, Seaweed], accounts: Accounts, open_bucket: OpenBucket
) -> None:
    account = stores["A"].create_bucket("wire-gone")
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


async def test_refusal_arrives_when_the_server_closes_before_it_read_a_large_body(
    proxied: Proxied, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    bucket = await open_bucket(proxy.account)
    body = part_of(bytes_of(8 * 1024 * 1024))
    for number in range(5):  # it is a race, which the refusal often loses
        proxy.add(
            Fault.refuses("AccessDenied", early=True, operation="put"), Fault.refuses("AccessDenied", operation="head")
        )
        error = await refusal(bucket, bucket.put(described(f"k{number}"), body))
        assert isinstance(error, AccessRefusedError), error
        proxy.clear()


# --- damage and clocks


async def test_file_is_stored_when_its_body_was_damaged_once(
    proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.damages_body(operation="put"), Fault.damages_body(operation="part"))
    bucket = await open_bucket(proxy.account)
    await bucket.put(described("one"), part_of(SMALL))
    await upload(bucket, described("many"))
    assert [seen.status for seen in proxy.seen("put")] == [400, 200]
    assert sorted(seen.status or 0 for seen in proxy.seen("part")) == [200, 200, 400]
    assert head(accounts["A"], "many")["ContentLength"] == len(LARGE)


@pytest.mark.parametrize("checksums", [True, False])
async def test_part_is_refused_when_its_body_is_always_damaged(
    checksums: bool, proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.damages_body(times=None))
    bucket = await open_bucket(proxy.account, checksums=checksums)
    error = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, PartRefusedError)
    assert str(error) == "Account A received other bytes than we sent: they were damaged on the way (BadDigest)."
    assert not error.retryable
    assert len(proxy.seen("put")) == 2
    assert not accounts["A"].contents()


@pytest.mark.parametrize("ahead_seconds", [-600, 600])
async def test_files_are_stored_when_the_accounts_clock_is_wrong(
    ahead_seconds: float, proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.has_wrong_clock(ahead_seconds=ahead_seconds, times=None))
    bucket = await open_bucket(proxy.account)
    # All at once: each of them is refused by the same clock. A HEAD, with which `begin` begins, is refused wordlessly.
    puts = (bucket.put(described(f"k{number}"), part_of(SMALL)) for number in range(4))
    await asyncio.gather(*puts, upload(bucket, described("many")))
    assert len(accounts["A"].contents().versions) == 5
    before = len(proxy.requests)
    await bucket.put(described("later"), part_of(SMALL))
    assert len(proxy.requests) == before + 1  # the clock is known by now


# --- answers that are none


@pytest.mark.parametrize(
    ("code", "kind", "wording"),
    [
        ("PermanentRedirect", WrongRegionError, "keeps its bucket in another region than the configured one"),
        ("TemporaryRedirect", AccountFailingError, "redirects us for now, as it does while a new bucket becomes known"),
    ],
)
async def test_body_and_token_stay_here_when_an_account_redirects(
    code: str, kind: type[Exception], wording: str, proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy, elsewhere = proxied("A"), proxied("B")
    location = {"Location": f"{elsewhere.account.endpoint_url}/bucket-b/k"}
    proxy.add(Fault.refuses(code, headers=location, times=None))
    bucket = await open_bucket(proxy.account, session_token="the-session-token")
    for request in (bucket.put(described(), part_of(SMALL)), bucket.probe(), bucket.remove(described())):
        error = await refusal(bucket, request)
        assert isinstance(error, kind)
        assert str(error).startswith(f"Account A {wording}")
        assert str(error).endswith(f"({code}).")
    assert elsewhere.requests == []


async def test_region_is_told_when_the_account_tells_it(proxied: Proxied, open_bucket: OpenBucket) -> None:
    proxy = proxied("A")
    proxy.add(Fault.refuses("PermanentRedirect", headers={"x-amz-bucket-region": "eu-north-1"}, times=None))
    bucket = await open_bucket(proxy.account)
    for request in (bucket.put(described(), part_of(SMALL)), bucket.begin(described())):
        error = await refusal(bucket, request)
        assert isinstance(error, WrongRegionError)
        assert "keeps its bucket in region eu-north-1, not in eu-central-1 (region_name)" in str(error)


NONSENSE = {
    "a page": ok(b"<!DOCTYPE html><html>Sign in</html>", "Content-Type: text/html"),
    "nothing": ok(b""),
    "other XML": ok(b"<Wrong/>"),
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "half of it": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "broken head": b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
    "bytes in a header": ok(b"", "ETag: ü"),
    "too much": ok(b"x" * (9 * 1024 * 1024)),
    "compressed": ok(b"\x1f\x8b", "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_nothing_is_called_stored_or_removed_when_the_answer_is_nonsense(
    nonsense: str, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    async with answering(NONSENSE[nonsense]) as url:
        bucket = await open_bucket(accounts["A"].at(url))
        description = described()
        for request in (bucket.put(description, part_of(SMALL)), bucket.begin(description), bucket.remove(description)):
            error = await refusal(bucket, request)
            assert isinstance(error, AccountFailingError | AccountUnreachableError), repr(error)
            assert error.retryable
        error = await refusal(bucket, bucket.put(description, part_of(SMALL)))
        assert error.unanswered


async def test_key_is_anothers_when_its_metadata_is_not_ascii(accounts: Accounts, open_bucket: OpenBucket) -> None:
    async with answering(ok(b"", 'ETag: "e"', "x-amz-meta-name: Grüße")) as url:
        bucket = await open_bucket(accounts["A"].at(url))
        assert isinstance(await refusal(bucket, bucket.begin(described())), KeyOccupiedError)


# --- answers that do not come


async def test_object_is_found_when_the_answers_to_put_and_complete_are_lost(
    proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.loses_reply(operation="put"), Fault.loses_reply(operation="complete"))
    bucket = await open_bucket(proxy.account)
    put, completed = await bucket.put(described("one"), part_of(SMALL)), await upload(bucket, described("many"))
    assert [put.etag, completed.etag] == [head(accounts["A"], key)["ETag"] for key in ("one", "many")]
    assert len(proxy.seen("put")) == len(proxy.seen("complete")) == 1


async def test_error_says_that_it_may_have_landed_when_neither_answer_nor_look_came(
    proxied: Proxied, open_bucket: OpenBucket
) -> None:
    for fault, kind in (
        (Fault.drops_connection(operation="head"), AccountUnreachableError),
        (Fault.refuses("AccessDenied", operation="head"), AccessRefusedError),
        (Fault.refuses("SlowDown", operation="head"), AccountThrottledError),
    ):
        proxy = proxied("A")
        proxy.add(Fault.loses_reply(operation="put"), fault)
        bucket = await open_bucket(proxy.account)
        description = described(kind.__name__)
        error = await refusal(bucket, bucket.put(description, part_of(SMALL)))
        assert isinstance(error, kind)
        assert error.unanswered
        await bucket.remove(description)


async def test_lost_upload_is_aborted_when_the_answer_to_begin_was_lost(
    proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.loses_reply(operation="begin"))
    bucket = await open_bucket(proxy.account)
    error = await refusal(bucket, bucket.begin(described()))
    assert isinstance(error, AccountUnreachableError)
    assert error.unanswered
    assert str(error) == "Account A dropped the connection before it answered."


async def test_error_is_seen_when_it_is_inside_a_200(proxied: Proxied, open_bucket: OpenBucket) -> None:
    proxy = proxied("A")
    proxy.add(Fault.refuses("InternalError", status=200, operation="complete"))
    bucket = await open_bucket(proxy.account)
    error = await refusal(bucket, upload(bucket, described()))
    assert isinstance(error, AccountFailingError)
    assert error.s3_code == "InternalError"
    assert str(error) == "Account A answers with an error of its own (InternalError)."


async def test_refused_connection_changed_nothing_and_says_so_when_nobody_listens(
    proxied: Proxied, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    proxy.refuse_connections()
    bucket = await open_bucket(proxy.account)
    error = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, AccountUnreachableError)
    assert not error.unanswered
    assert str(error) == "Account A cannot be reached: it refuses connections."


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

"""Requests that are refused early, damaged, answered with nonsense or not answered, by a fault proxy or a raw server.

Only what is stored may be called stored, and an error says if the request may have taken effect.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from file.logic.errors import (
    AccessRefusedError,
    AccountFailingError,
    AccountThrottledError,
    AccountUnreachableError,
    KeyOccupiedError,
    PartRefusedError,
    WrongRegionError,
)
from file.logic.values import MiB
from file.s3.bucket import S3Bucket
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.files import bytes_of, described, part_of
from tests.unit.s3.conftest import LARGE, SMALL, OpenBucket, both_ways, head, refusal, upload
from tests.unit.s3.rawserver import answering, ok

pytestmark = both_ways


async def test_refusal_arrives_when_the_server_closes_before_it_read_a_large_body(
    proxy: FaultProxy, proxied_bucket: S3Bucket
) -> None:
    body = part_of(bytes_of(8 * MiB))
    for number in range(5):  # it is a race, which the refusal often loses
        proxy.add(
            Fault.refuses("AccessDenied", early=True, operation="put"), Fault.refuses("AccessDenied", operation="head")
        )
        error = await refusal(proxied_bucket, proxied_bucket.put(described(f"k{number}"), body))
        assert isinstance(error, AccessRefusedError), error
        proxy.clear()


# --- damage and clocks


async def test_file_is_stored_when_its_body_was_damaged_once(
    proxy: FaultProxy, account: StoreAccount, proxied_bucket: S3Bucket
) -> None:
    proxy.add(Fault.damages_body(operation="put"), Fault.damages_body(operation="part"))
    await proxied_bucket.put(described("one"), part_of(SMALL))
    await upload(proxied_bucket, described("many"))
    assert [seen.status for seen in proxy.seen("put")] == [400, 200]
    assert sorted(seen.status or 0 for seen in proxy.seen("part")) == [200, 200, 400]
    assert head(account, "many")["ContentLength"] == len(LARGE)


@pytest.mark.parametrize("checksums", [True, False])
async def test_part_is_refused_when_its_body_is_always_damaged(
    checksums: bool, proxy: FaultProxy, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    proxy.add(Fault.damages_body(times=None))
    bucket = await open_bucket(proxy.account, checksums=checksums)
    error = await refusal(bucket, bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, PartRefusedError)
    assert str(error) == "Account A received other bytes than we sent: they were damaged on the way (BadDigest)."
    assert not error.retryable
    assert len(proxy.seen("put")) == 2
    assert not account.contents()


@pytest.mark.parametrize("ahead_seconds", [-600, 600])
async def test_files_are_stored_when_the_accounts_clock_is_wrong(
    ahead_seconds: float, proxy: FaultProxy, account: StoreAccount, proxied_bucket: S3Bucket
) -> None:
    proxy.add(Fault.has_wrong_clock(ahead_seconds=ahead_seconds, times=None))
    # At once, because one clock refuses each of them. The answer to the HEAD, with which `begin` begins, has no code.
    puts = (proxied_bucket.put(described(f"k{number}"), part_of(SMALL)) for number in range(4))
    await asyncio.gather(*puts, upload(proxied_bucket, described("many")))
    assert len(account.contents().versions) == 5
    before = len(proxy.requests)
    await proxied_bucket.put(described("later"), part_of(SMALL))
    assert len(proxy.requests) == before + 1  # the difference of the clocks is known by now


# --- redirects and nonsense


@pytest.mark.parametrize(
    ("code", "kind", "wording"),
    [
        ("PermanentRedirect", WrongRegionError, "keeps its bucket in another region than the configured one"),
        ("TemporaryRedirect", AccountFailingError, "redirects us for now, as it does while a new bucket becomes known"),
    ],
)
async def test_body_and_token_are_not_sent_elsewhere_when_an_account_redirects(
    code: str, kind: type[Exception], wording: str, proxied: Callable[[str], FaultProxy], open_bucket: OpenBucket
) -> None:
    proxy, elsewhere = proxied("A"), proxied("B")
    location = {"Location": f"{elsewhere.account.endpoint_url}/bucket-b/k"}
    proxy.add(Fault.refuses(code, headers=location, times=None))
    bucket = await open_bucket(proxy.account, session_token="the-session-token")
    for request in (bucket.put(described(), part_of(SMALL)), bucket.probe(), bucket.remove("k", described().file_id)):
        error = await refusal(bucket, request)
        assert isinstance(error, kind)
        assert str(error).startswith(f"Account A {wording}")
        assert str(error).endswith(f"({code}).")
    assert elsewhere.requests == []


async def test_the_error_names_the_region_when_the_account_names_it(
    proxy: FaultProxy, proxied_bucket: S3Bucket
) -> None:
    proxy.add(Fault.refuses("PermanentRedirect", headers={"x-amz-bucket-region": "eu-north-1"}, times=None))
    for request in (proxied_bucket.put(described(), part_of(SMALL)), proxied_bucket.begin(described())):
        error = await refusal(proxied_bucket, request)
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
    "too much": ok(b"x" * 9 * MiB),
    "compressed": ok(b"\x1f\x8b", "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
async def test_nothing_is_called_stored_or_removed_when_the_answer_is_nonsense(
    nonsense: str, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    async with answering(NONSENSE[nonsense]) as url:
        bucket, description = await open_bucket(account.at(url)), described()
        requests = (
            bucket.put(description, part_of(SMALL)),
            bucket.begin(description),
            bucket.remove(description.key, description.file_id),
        )
        errors = [await refusal(bucket, request) for request in requests]
        assert errors[0].unanswered
        for error in errors:
            assert isinstance(error, AccountFailingError | AccountUnreachableError), repr(error)
            assert error.retryable


async def test_key_is_anothers_when_its_metadata_is_not_ascii(account: StoreAccount, open_bucket: OpenBucket) -> None:
    async with answering(ok(b"", 'ETag: "e"', "x-amz-meta-name: Grüße")) as url:
        bucket = await open_bucket(account.at(url))
        assert isinstance(await refusal(bucket, bucket.begin(described())), KeyOccupiedError)


# --- answers that do not come


async def test_object_is_found_when_the_answers_to_put_and_complete_are_lost(
    proxy: FaultProxy, account: StoreAccount, proxied_bucket: S3Bucket
) -> None:
    proxy.add(Fault.loses_reply(operation="put"), Fault.loses_reply(operation="complete"))
    put = await proxied_bucket.put(described("one"), part_of(SMALL))
    completed = await upload(proxied_bucket, described("many"))
    assert [put.etag, completed.etag] == [head(account, key)["ETag"] for key in ("one", "many")]
    assert len(proxy.seen("put")) == len(proxy.seen("complete")) == 1


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault.drops_connection(operation="head"), AccountUnreachableError),
        (Fault.refuses("AccessDenied", operation="head"), AccessRefusedError),
        (Fault.refuses("SlowDown", operation="head"), AccountThrottledError),
    ],
    ids=["unreachable", "refused", "throttled"],
)
async def test_error_says_that_a_put_may_have_taken_effect_when_neither_put_nor_head_is_answered(
    fault: Fault, kind: type[Exception], proxy: FaultProxy, proxied_bucket: S3Bucket
) -> None:
    proxy.add(Fault.loses_reply(operation="put"), fault)
    error = await refusal(proxied_bucket, proxied_bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, kind)
    assert error.unanswered


async def test_lost_upload_is_found_and_aborted_when_the_answer_to_begin_was_lost(
    proxy: FaultProxy, account: StoreAccount, proxied_bucket: S3Bucket
) -> None:
    proxy.add(Fault.loses_reply(operation="begin"))
    since = datetime.now(UTC)
    error = await refusal(proxied_bucket, proxied_bucket.begin(described()))
    assert isinstance(error, AccountUnreachableError)
    assert error.unanswered
    assert str(error) == "Account A dropped the connection before it answered."
    assert [key for key, _ in account.contents().uploads] == ["k"]
    await proxied_bucket.abort_lost("k", since=since, until=datetime.now(UTC))
    assert not account.contents()


async def test_error_is_seen_when_it_is_inside_a_200(proxy: FaultProxy, proxied_bucket: S3Bucket) -> None:
    proxy.add(Fault.refuses("InternalError", status=200, operation="complete"))
    error = await refusal(proxied_bucket, upload(proxied_bucket, described()))
    assert isinstance(error, AccountFailingError)
    assert error.s3_code == "InternalError"
    assert str(error) == "Account A answers with an error of its own (InternalError)."


async def test_error_says_that_nothing_changed_when_connections_are_refused(
    proxy: FaultProxy, proxied_bucket: S3Bucket
) -> None:
    proxy.refuse_connections()
    error = await refusal(proxied_bucket, proxied_bucket.put(described(), part_of(SMALL)))
    assert isinstance(error, AccountUnreachableError)
    assert not error.unanswered
    assert str(error) == "Account A cannot be reached: it refuses connections."

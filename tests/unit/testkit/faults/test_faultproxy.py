"""Each fault does what its name says: raw HTTP and boto3 through the proxy, boto3 to the account itself."""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, HTTPClientError

from file.s3.calls import Call
from file.s3.client import Network, S3Client
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import STATUSES, Fault
from testkit.faults.operations import recognise
from tests.buckets import account_of

MiB = 1024 * 1024
BUCKET = "bucket-a"
CLOCK_SECONDS = 20 * 60.0
Proxied = Callable[[str], FaultProxy]


@pytest.fixture
def proxy(proxied: Proxied) -> FaultProxy:
    return proxied("A")


@pytest.fixture
def client(proxy: FaultProxy) -> Any:
    return proxy.account.boto3()


@pytest.fixture
def account(accounts: dict[str, StoreAccount]) -> StoreAccount:
    """The account itself, not through the proxy."""
    return accounts["A"]


def url_of(proxy: FaultProxy) -> str:
    return f"{proxy.account.endpoint_url}/{BUCKET}/k"


def put(client: Any, key: str = "k", body: bytes = b"1") -> None:
    client.put_object(Bucket=BUCKET, Key=key, Body=body)


def keys(account: StoreAccount) -> list[str]:
    return [key for key, _ in account.contents().versions]


@pytest.mark.parametrize(
    ("method", "target", "name"),
    [
        ("PUT", "/b/k", "put"),
        ("PUT", "/b/k?x-id=PutObject", "put"),
        ("PUT", "/b/k?X-Amz-Signature=0&X-Amz-Date=0", "put"),
        ("PUT", "/b/k?tagging", "other"),
        ("POST", "/b/k?uploads", "begin"),
        ("POST", "/b/k?uploads=", "begin"),
        ("PUT", "/b/k?partNumber=7&uploadId=u", "part"),
        ("POST", "/b/k?uploadId=u", "complete"),
        ("DELETE", "/b/k?uploadId=u", "abort"),
        ("GET", "/b/k?uploadId=u", "list_parts"),
        ("HEAD", "/b/k?versionId=v", "head"),
        ("GET", "/b/k", "get"),
        ("GET", "/b/k?acl", "other"),
        ("DELETE", "/b/k?versionId=null", "delete"),
        ("GET", "/b?versions&prefix=k", "list_versions"),
        ("GET", "/b/?uploads", "list_uploads"),
        ("GET", "/b?list-type=2", "list"),
        ("HEAD", "/b", "head_bucket"),
        ("PUT", "/b", "other"),
    ],
)
def test_the_operation_is_recognised(method: str, target: str, name: str) -> None:
    assert recognise(method, target).name == name


def test_the_key_is_decoded() -> None:
    operation = recognise("PUT", "/b/a//%C3%BC%20%2B?partNumber=7&uploadId=u")
    assert (operation.key, operation.part_number) == ("a//ü +", 7)


def test_everything_passes_without_a_fault(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    body = os.urandom(5 * MiB)
    client.put_object(Bucket=BUCKET, Key="one ü", Body=b"1", Metadata={"a": "b"})
    upload = client.create_multipart_upload(Bucket=BUCKET, Key="two")["UploadId"]
    part = client.upload_part(Bucket=BUCKET, Key="two", UploadId=upload, PartNumber=1, Body=body)
    client.complete_multipart_upload(
        Bucket=BUCKET, Key="two", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert client.get_object(Bucket=BUCKET, Key="two")["Body"].read() == body
    assert account.boto3().head_object(Bucket=BUCKET, Key="one ü")["Metadata"] == {"a": "b"}
    seen = proxy.wait_for(count=5, ended=True)
    operations = ("put", "begin", "part", "complete", "get")
    assert [(each.operation, each.status) for each in seen] == [(name, 200) for name in operations]
    assert (seen[0].key, seen[2].part_number) == ("one ü", 1)
    assert seen[2].body_bytes >= 5 * MiB
    assert seen[4].reply_bytes == 5 * MiB
    assert all(each.ended is not None and each.ended >= each.started for each in seen)


def test_large_body_passes_both_ways_when_there_is_no_fault(proxy: FaultProxy, client: Any) -> None:
    body = os.urandom(20 * MiB)
    client.put_object(Bucket=BUCKET, Key="large", Body=body)
    assert client.get_object(Bucket=BUCKET, Key="large")["Body"].read() == body


def test_the_answer_is_an_s3_error_when_a_put_is_refused(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    for code in sorted(set(STATUSES) - {"PermanentRedirect", "TemporaryRedirect"}):
        proxy.add(Fault.refuses(code, operation="put"))
        with pytest.raises(ClientError) as refused:
            put(client, body=b"1" * MiB)
        answer = refused.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, STATUSES[code])
    assert keys(account) == []
    put(client)
    assert keys(account) == ["k"]


def test_the_answer_has_a_location_when_a_put_is_redirected(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("TemporaryRedirect", headers={"Location": "http://127.0.0.1:1/elsewhere"}))
    answer = httpx.put(url_of(proxy), content=b"1", trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:1/elsewhere")


def test_the_answer_has_no_body_when_a_head_is_refused(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("SlowDown", operation="head", times=2))
    with httpx.Client(trust_env=False) as http:
        answers = [http.head(url_of(proxy)) for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(503, b"")] * 2


def test_the_answer_comes_before_the_body_when_a_put_is_refused_early(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation="put", early=True))
    with socket.create_connection(("127.0.0.1", httpx.URL(proxy.account.endpoint_url).port), timeout=5) as raw:
        raw.sendall(b"PUT /bucket-a/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"<Code>AccessDenied</Code>" in answer
    assert proxy.wait_for("put", ended=True)[0].body_bytes == 0


def test_the_error_is_in_a_200_when_a_complete_is_refused_with_it(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("InternalError", status=200, operation="complete"))
    answer = httpx.post(f"{url_of(proxy)}?uploadId=u", content=b"<x/>", trust_env=False)
    assert answer.status_code == 200
    assert "<Code>InternalError</Code>" in answer.text


def test_a_refused_put_may_be_carried_out(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    proxy.add(Fault.refuses("InternalError", operation="put", carried_out=True))
    with pytest.raises(ClientError, match="InternalError"):
        put(client)
    assert keys(account) == ["k"]
    [seen] = proxy.wait_for("put", ended=True)
    assert (seen.status, seen.server_status) == (500, 200)


def test_the_object_is_stored_when_the_reply_is_lost(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    proxy.add(Fault.loses_reply(operation="put"))
    with pytest.raises(ConnectionClosedError):
        put(client)
    assert keys(account) == ["k"]
    [seen] = proxy.wait_for("put", ended=True)
    assert (seen.status, seen.server_status, seen.fault) == (None, 200, "loses_reply")


@pytest.mark.parametrize("after_bytes", [0, 1, MiB])
def test_nothing_is_stored_when_the_connection_drops(
    after_bytes: int, proxy: FaultProxy, client: Any, account: StoreAccount
) -> None:
    proxy.add(Fault.drops_connection(after_bytes=after_bytes, operation="put"))
    with pytest.raises(HTTPClientError):
        put(client, body=b"1" * (8 * MiB))
    proxy.wait_for("put", ended=True)
    assert keys(account) == []


def test_the_client_waits_when_a_request_stalls(proxy: FaultProxy) -> None:
    proxy.add(Fault.stalls(operation="put"))
    read_limit = httpx.Timeout(30, read=0.3)
    with pytest.raises(httpx.ReadTimeout):
        httpx.put(url_of(proxy), content=b"1" * MiB, timeout=read_limit, trust_env=False)
    [seen] = proxy.wait_for("put", ended=True)
    assert (seen.status, seen.body_bytes) == (None, MiB)


def test_the_client_cannot_send_when_a_request_stalls_in_its_body(proxy: FaultProxy) -> None:
    proxy.add(Fault.stalls(operation="put", after_bytes=MiB))
    write_limit = httpx.Timeout(30, write=0.5)
    with pytest.raises(httpx.WriteTimeout):
        httpx.put(url_of(proxy), content=b"1" * (32 * MiB), timeout=write_limit, trust_env=False)


def test_the_body_takes_long_when_the_account_is_slow(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    proxy.add(Fault.slows(2 * MiB, times=None))
    started = time.monotonic()
    put(client, body=b"1" * MiB)
    assert time.monotonic() - started > 0.45
    assert keys(account) == ["k"]


def test_the_answer_is_late_when_the_reply_is_delayed(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.delays_reply(0.3, operation="head_bucket"))
    started = time.monotonic()
    client.head_bucket(Bucket=BUCKET)
    assert time.monotonic() - started >= 0.3


def test_the_server_refuses_a_damaged_body(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    proxy.add(Fault.damages_body(at_byte=MiB - 1, operation="put"))
    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Bucket=BUCKET, Key="k", Body=b"1" * MiB, ChecksumAlgorithm="SHA256")
    assert keys(account) == []


def test_one_byte_differs_when_the_reply_is_damaged(proxy: FaultProxy, account: StoreAccount) -> None:
    put(account.boto3(), body=b"0000")
    client = account.at(proxy.account.endpoint_url).boto3()
    url = client.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"})
    proxy.add(Fault.damages_reply(at_byte=2, operation="get"))
    assert [httpx.get(url, trust_env=False).content for _ in range(2)] == [b"0010", b"0000"]


def test_requests_are_skewed_when_the_clock_is_wrong(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.has_wrong_clock(ahead_seconds=600, times=1))
    with pytest.raises(ClientError, match="RequestTimeTooSkewed") as refused:
        client.list_objects_v2(Bucket=BUCKET)
    date = refused.value.response["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() - time.time() == pytest.approx(600, abs=30)


def test_a_request_passes_when_its_date_is_near_the_wrong_clock(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.has_wrong_clock(ahead_seconds=30, tolerance_seconds=60, times=None))
    date = client.list_objects_v2(Bucket=BUCKET)["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() - time.time() == pytest.approx(30, abs=15)


def test_no_connection_is_made_when_the_account_refuses_connections(proxy: FaultProxy, client: Any) -> None:
    client.head_bucket(Bucket=BUCKET)
    proxy.refuse_connections()
    with pytest.raises(EndpointConnectionError):
        client.head_bucket(Bucket=BUCKET)
    proxy.accept_connections()
    client.head_bucket(Bucket=BUCKET)


def test_a_fault_strikes_only_the_chosen_requests(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.refuses("SlowDown", operation="head_bucket", after=1, times=2))
    proxy.add(Fault.refuses("SlowDown", key="other", times=None))
    statuses = []
    for _ in range(4):
        try:
            client.head_bucket(Bucket=BUCKET)
            statuses.append(200)
        except ClientError as refused:
            statuses.append(refused.response["ResponseMetadata"]["HTTPStatusCode"])
    assert statuses == [200, 503, 503, 200]
    put(client, body=b"")
    with pytest.raises(ClientError, match="SlowDown"):
        put(client, "other")
    proxy.clear()
    put(client, "other")


async def test_waiting_ends_when_the_request_has_begun(proxy: FaultProxy, client: Any) -> None:
    released = threading.Event()
    proxy.add(Fault.holds_reply(released))
    request = asyncio.create_task(asyncio.to_thread(client.head_bucket, Bucket=BUCKET))
    [seen] = await proxy.wait_until("head_bucket")
    assert seen.ended is None
    released.set()
    await request
    [seen] = await proxy.wait_until("head_bucket", ended=True)
    assert seen.status == 200


def test_waiting_fails_and_lists_the_requests_when_none_matches(proxy: FaultProxy, client: Any) -> None:
    client.head_bucket(Bucket=BUCKET)
    proxy.wait_for("head_bucket", ended=True)
    with pytest.raises(TimeoutError, match="head_bucket 200"):
        proxy.wait_for("put", timeout_seconds=0.05)


def test_the_connection_breaks_when_the_server_is_killed(client: Any, stores: dict[str, Any]) -> None:
    os.kill(stores["A"].process_id, signal.SIGKILL)
    stores["A"].kill()
    with pytest.raises(HTTPClientError):
        client.head_bucket(Bucket=BUCKET)


def test_a_fault_is_refused_when_its_operation_is_unknown() -> None:
    with pytest.raises(ValueError, match="no operation 'puts'"):
        Fault.stalls(operation="puts")


def test_everything_is_refused_from_then_on(account: StoreAccount, proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation="put", key="second", times=None, from_then_on=True))
    put(client, "first")
    for key in ("second", "third"):
        with pytest.raises(ClientError, match="AccessDenied"):
            put(client, key)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket=BUCKET)
    assert keys(account) == ["first"]
    proxy.clear()
    put(client, "fourth")


def test_a_refusal_is_held_until_its_condition_is_met(proxied: Proxied, proxy: FaultProxy, client: Any) -> None:
    other = proxied("B")
    proxy.add(Fault.refuses(operation="put", held_until=lambda: other.wait_for("put", ended=True)))
    with ThreadPoolExecutor(1) as thread:
        refused = thread.submit(put, client)
        proxy.wait_for("put")
        other.account.boto3().put_object(Bucket="bucket-b", Key="k", Body=b"1")
        with pytest.raises(ClientError, match="InternalError"):
            refused.result(10)
    [held], [first] = (each.wait_for("put", ended=True) for each in (proxy, other))
    assert held.ended is not None
    assert first.ended is not None
    assert held.ended > first.ended


def test_an_answer_breaks_off_after_the_request_was_carried_out(proxy: FaultProxy, client: Any) -> None:
    put(client, body=b"x" * 100)
    proxy.add(Fault.drops_reply(operation="get", after_bytes=10))
    place = {"Bucket": BUCKET, "Key": "k"}
    with pytest.raises(HTTPClientError):
        client.get_object(**place)["Body"].read()
    [seen] = proxy.wait_for("get", ended=True)
    assert (seen.status, seen.server_status, seen.reply_bytes) == (200, 200, 10)
    assert client.get_object(**place)["Body"].read() == b"x" * 100


async def test_requests_pass_with_the_date_of_the_wrong_clock(account: StoreAccount, proxy: FaultProxy) -> None:
    clock = partial(Fault.has_wrong_clock, ahead_seconds=CLOCK_SECONDS, tolerance_seconds=900)
    proxy.add(clock(signed_again_for=account, times=None))
    client, body = S3Client(account_of(proxy.account), Network()), b"x" * 1000
    answer = await client.write(Call("put", "PUT", "a b/ü", headers={"x-amz-meta-a": "b"}, body=body))
    listing = await client.brief(Call("list_versions", "GET", None, query=[("versions", ""), ("prefix", "a b/")]))
    await client.close()
    assert (answer.status, listing.status) == (200, 200)
    assert [seen.status for seen in proxy.wait_for(count=3, ended=True)] == [403, 200, 200]
    stored = account.boto3().get_object(Bucket=BUCKET, Key="a b/ü")
    assert (stored["Body"].read(), stored["Metadata"]) == (body, {"a": "b"})


def test_a_request_is_refused_with_another_date(account: StoreAccount, proxy: FaultProxy) -> None:
    proxy.add(Fault.has_wrong_clock(ahead_seconds=CLOCK_SECONDS, signed_again_for=account, times=None))
    stamp = {"x-amz-date": "20200101T000000Z"}
    answer = httpx.get(url_of(proxy), headers=stamp)
    assert answer.status_code == 403
    assert "RequestTimeTooSkewed" in answer.text


@pytest.mark.parametrize("comes_after", [False, True])
def test_the_test_is_called_before_or_after_the_request(
    account: StoreAccount, proxy: FaultProxy, client: Any, comes_after: bool
) -> None:
    found: list[list[str]] = []
    proxy.add(Fault.calls(lambda: found.append(keys(account)), operation="put", comes_after=comes_after))
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        put(client)
    carried_out = ["k"] if comes_after else []
    assert found == [carried_out]
    assert keys(account) == carried_out
    put(client)
    assert [request.fault for request in proxy.seen("put")] == ["calls", None]

"""Each fault does what its name says, seen from outside: raw HTTP and boto3 through the proxy, boto3 around it."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, HTTPClientError

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import STATUSES, Fault
from testkit.faults.operations import recognise

MiB = 1024 * 1024
Proxied = Callable[[str], FaultProxy]
BUCKET = "bucket-a"


@pytest.fixture
def proxy(proxied: Proxied) -> FaultProxy:
    return proxied("A")


@pytest.fixture
def client(proxy: FaultProxy) -> Any:
    return proxy.account.boto3()


@pytest.fixture
def account(accounts: dict[str, StoreAccount]) -> StoreAccount:
    """The account itself, around the proxy."""
    return accounts["A"]


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
def test_operation_is_recognised(method: str, target: str, name: str) -> None:
    assert recognise(method, target).name == name


def test_key_is_decoded_when_it_is_recognised() -> None:
    operation = recognise("PUT", "/b/a//%C3%BC%20%2B?partNumber=7&uploadId=u")
    assert (operation.key, operation.part_number) == ("a//ü +", 7)


def test_everything_passes_and_is_recorded_when_there_is_no_fault(
    proxy: FaultProxy, client: Any, account: StoreAccount
) -> None:
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
    assert [(each.operation, each.status) for each in seen] == [
        ("put", 200),
        ("begin", 200),
        ("part", 200),
        ("complete", 200),
        ("get", 200),
    ]
    assert (seen[0].key, seen[2].part_number) == ("one ü", 1)
    assert seen[2].body_bytes >= 5 * MiB
    assert seen[4].reply_bytes == 5 * MiB
    assert all(each.ended is not None and each.ended >= each.started for each in seen)


def test_large_body_passes_both_ways_when_there_is_no_fault(proxy: FaultProxy, client: Any) -> None:
    body = os.urandom(20 * MiB)
    client.put_object(Bucket=BUCKET, Key="large", Body=body)
    assert client.get_object(Bucket=BUCKET, Key="large")["Body"].read() == body


def test_s3_error_is_answered_when_a_put_is_refused(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    for code in sorted(set(STATUSES) - {"PermanentRedirect", "TemporaryRedirect"}):
        proxy.add(Fault.refuses(code, operation="put"))
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket=BUCKET, Key="k", Body=b"1" * MiB)
        answer = refused.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, STATUSES[code])
    assert keys(account) == []
    client.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    assert keys(account) == ["k"]


def test_location_is_answered_when_a_put_is_redirected(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("TemporaryRedirect", headers={"Location": "http://127.0.0.1:1/elsewhere"}))
    answer = httpx.put(f"{proxy.account.endpoint_url}/{BUCKET}/k", content=b"1", trust_env=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:1/elsewhere")


def test_head_has_no_body_when_it_is_refused(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("SlowDown", operation="head", times=2))
    with httpx.Client(trust_env=False) as http:
        answers = [http.head(f"{proxy.account.endpoint_url}/{BUCKET}/k") for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(503, b"")] * 2


def test_answer_comes_before_the_body_when_a_put_is_refused_early(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation="put", early=True))
    with socket.create_connection(("127.0.0.1", httpx.URL(proxy.account.endpoint_url).port), timeout=5) as raw:
        raw.sendall(b"PUT /bucket-a/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"<Code>AccessDenied</Code>" in answer
    assert proxy.wait_for("put", ended=True)[0].body_bytes == 0


def test_error_is_inside_a_200_when_a_complete_is_refused_so(proxy: FaultProxy) -> None:
    proxy.add(Fault.refuses("InternalError", status=200, operation="complete"))
    answer = httpx.post(f"{proxy.account.endpoint_url}/{BUCKET}/k?uploadId=u", content=b"<x/>", trust_env=False)
    assert answer.status_code == 200
    assert "<Code>InternalError</Code>" in answer.text


def test_object_is_stored_when_a_put_is_refused_but_carried_out(
    proxy: FaultProxy, client: Any, account: StoreAccount
) -> None:
    proxy.add(Fault.refuses("InternalError", operation="put", carried_out=True))
    with pytest.raises(ClientError, match="InternalError"):
        client.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    assert keys(account) == ["k"]
    assert (proxy.requests[0].status, proxy.requests[0].server_status) == (500, 200)


def test_object_is_stored_when_the_reply_is_lost(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    proxy.add(Fault.loses_reply(operation="put"))
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=BUCKET, Key="k", Body=b"1")
    assert keys(account) == ["k"]
    [seen] = proxy.wait_for("put", ended=True)
    assert (seen.status, seen.server_status, seen.fault) == (None, 200, "loses_reply")


@pytest.mark.parametrize("after_bytes", [0, 1, MiB])
def test_nothing_is_stored_when_the_connection_drops(
    after_bytes: int, proxy: FaultProxy, client: Any, account: StoreAccount
) -> None:
    proxy.add(Fault.drops_connection(after_bytes=after_bytes, operation="put"))
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=BUCKET, Key="k", Body=b"1" * (8 * MiB))
    proxy.wait_for("put", ended=True)
    assert keys(account) == []


def test_client_waits_when_a_request_stalls(proxy: FaultProxy) -> None:
    proxy.add(Fault.stalls(operation="put"))
    read_limit = httpx.Timeout(30, read=0.3)
    with pytest.raises(httpx.ReadTimeout):
        httpx.put(f"{proxy.account.endpoint_url}/{BUCKET}/k", content=b"1" * MiB, timeout=read_limit, trust_env=False)
    [seen] = proxy.wait_for("put", ended=True)
    assert (seen.status, seen.body_bytes) == (None, MiB)


def test_client_cannot_send_when_a_request_stalls_within_its_body(proxy: FaultProxy) -> None:
    proxy.add(Fault.stalls(operation="put", after_bytes=MiB))
    url, write_limit = f"{proxy.account.endpoint_url}/{BUCKET}/k", httpx.Timeout(30, write=0.5)
    with pytest.raises(httpx.WriteTimeout):
        httpx.put(url, content=b"1" * (32 * MiB), timeout=write_limit, trust_env=False)


def test_body_takes_its_time_when_the_account_is_slow(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    proxy.add(Fault.slows(2 * MiB, times=None))
    started = time.monotonic()
    client.put_object(Bucket=BUCKET, Key="k", Body=b"1" * MiB)
    assert time.monotonic() - started > 0.45
    assert keys(account) == ["k"]


def test_answer_is_late_when_the_reply_is_delayed(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.delays_reply(0.3, operation="head_bucket"))
    started = time.monotonic()
    client.head_bucket(Bucket=BUCKET)
    assert time.monotonic() - started >= 0.3


def test_server_refuses_the_body_when_a_byte_is_damaged(proxy: FaultProxy, client: Any, account: StoreAccount) -> None:
    proxy.add(Fault.damages_body(at_byte=MiB - 1, operation="put"))
    with pytest.raises(ClientError, match="BadDigest"):
        client.put_object(Bucket=BUCKET, Key="k", Body=b"1" * MiB, ChecksumAlgorithm="SHA256")
    assert keys(account) == []


def test_one_byte_differs_when_the_reply_is_damaged(proxy: FaultProxy, account: StoreAccount) -> None:
    account.boto3().put_object(Bucket=BUCKET, Key="k", Body=b"0000")
    url = (
        account.at(proxy.account.endpoint_url)
        .boto3()
        .generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "k"})
    )
    proxy.add(Fault.damages_reply(at_byte=2, operation="get"))
    assert [httpx.get(url, trust_env=False).content for _ in range(2)] == [b"0010", b"0000"]


def test_requests_are_skewed_when_the_clock_is_wrong(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.has_wrong_clock(ahead_seconds=600, times=1))
    with pytest.raises(ClientError, match="RequestTimeTooSkewed") as refused:
        client.list_objects_v2(Bucket=BUCKET)
    date = refused.value.response["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() - time.time() == pytest.approx(600, abs=30)


def test_request_passes_when_the_clock_is_wrong_and_it_is_dated_by_it(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.has_wrong_clock(ahead_seconds=30, tolerance_seconds=60, times=None))
    date = client.list_objects_v2(Bucket=BUCKET)["ResponseMetadata"]["HTTPHeaders"]["date"]
    assert parsedate_to_datetime(date).timestamp() - time.time() == pytest.approx(30, abs=15)


def test_connection_is_refused_when_the_account_refuses_connections(proxy: FaultProxy, client: Any) -> None:
    client.head_bucket(Bucket=BUCKET)
    proxy.refuse_connections()
    with pytest.raises(EndpointConnectionError):
        client.head_bucket(Bucket=BUCKET)
    proxy.accept_connections()
    client.head_bucket(Bucket=BUCKET)


def test_only_the_chosen_requests_are_met_when_a_fault_counts(proxy: FaultProxy, client: Any) -> None:
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
    client.put_object(Bucket=BUCKET, Key="k", Body=b"")
    with pytest.raises(ClientError, match="SlowDown"):
        client.put_object(Bucket=BUCKET, Key="other", Body=b"")
    proxy.clear()
    client.put_object(Bucket=BUCKET, Key="other", Body=b"")


async def test_waiting_ends_when_the_request_has_begun(proxy: FaultProxy, client: Any) -> None:
    proxy.add(Fault.delays_reply(0.2))
    request = asyncio.create_task(asyncio.to_thread(client.head_bucket, Bucket=BUCKET))
    [seen] = await proxy.wait_until("head_bucket")
    assert seen.ended is None
    await request
    [seen] = await proxy.wait_until("head_bucket", ended=True)
    assert seen.status == 200


def test_waiting_fails_and_tells_what_was_seen_when_the_request_does_not_come(proxy: FaultProxy, client: Any) -> None:
    client.head_bucket(Bucket=BUCKET)
    proxy.wait_for("head_bucket", ended=True)
    with pytest.raises(TimeoutError, match="head_bucket 200"):
        proxy.wait_for("put", timeout_seconds=0.05)


def test_connection_breaks_when_the_server_behind_is_gone(
    proxy: FaultProxy, client: Any, stores: dict[str, Any]
) -> None:
    os.kill(stores["A"].process_id, signal.SIGKILL)
    stores["A"].kill()
    with pytest.raises(HTTPClientError):
        client.head_bucket(Bucket=BUCKET)


def test_unknown_operation_is_told_when_a_fault_names_one() -> None:
    with pytest.raises(ValueError, match="no operation 'puts'"):
        Fault.stalls(operation="puts")

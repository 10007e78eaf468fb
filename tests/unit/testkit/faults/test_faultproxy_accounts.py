"""Faults of an account as a whole, from some request on; and an answer that breaks off."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, HTTPClientError

from file.s3.calls import Call
from file.s3.client import Network, S3Client
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import account_of
from tests.service.conftest import Proxied

CLOCK_SECONDS = 20 * 60.0


@pytest.fixture
def proxy(proxied: Proxied) -> FaultProxy:
    return proxied("A")


@pytest.fixture
def client(proxy: FaultProxy) -> Any:
    return proxy.account.boto3()


def put(client: Any, account: StoreAccount, key: str) -> None:
    client.put_object(Bucket=account.s3_bucket_name, Key=key, Body=b"x" * 100)


def test_everything_is_refused_from_the_first_request_that_was_meant(
    accounts: dict[str, StoreAccount], proxy: FaultProxy, client: Any
) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation="put", key="second", times=None, from_then_on=True))
    put(client, accounts["A"], "first")
    for key in ("second", "third"):
        with pytest.raises(ClientError, match="AccessDenied"):
            put(client, accounts["A"], key)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket=accounts["A"].s3_bucket_name)
    assert [key for key, _ in accounts["A"].contents().versions] == ["first"]
    proxy.clear()
    put(client, accounts["A"], "fourth")


def test_refusal_is_held_until_it_may_go(
    accounts: dict[str, StoreAccount], proxied: Proxied, proxy: FaultProxy, client: Any
) -> None:
    other = proxied("B")
    proxy.add(Fault.refuses(operation="put", held_until=lambda: other.wait_for("put", ended=True)))
    with ThreadPoolExecutor(1) as thread:
        refused = thread.submit(put, client, accounts["A"], "k")
        proxy.wait_for("put")
        put(other.account.boto3(), accounts["B"], "k")
        with pytest.raises(ClientError, match="InternalError"):
            refused.result(10)
    [held], [first] = proxy.seen("put"), other.seen("put")
    assert held.ended is not None
    assert first.ended is not None
    assert held.ended > first.ended


def test_answer_breaks_off_after_it_was_carried_out(
    accounts: dict[str, StoreAccount], proxy: FaultProxy, client: Any
) -> None:
    put(client, accounts["A"], "k")
    proxy.add(Fault.drops_reply(operation="get", after_bytes=10))
    place = {"Bucket": accounts["A"].s3_bucket_name, "Key": "k"}
    with pytest.raises(HTTPClientError):
        client.get_object(**place)["Body"].read()
    [seen] = proxy.wait_for("get", ended=True)
    assert (seen.status, seen.server_status, seen.reply_bytes) == (200, 200, 10)
    assert client.get_object(**place)["Body"].read() == b"x" * 100


async def test_requests_pass_when_they_are_dated_by_a_clock_that_is_far_off(
    accounts: dict[str, StoreAccount], proxy: FaultProxy
) -> None:
    proxy.add(
        Fault.has_wrong_clock(
            ahead_seconds=CLOCK_SECONDS, tolerance_seconds=900, signed_again_for=accounts["A"], times=None
        )
    )
    client = S3Client(account_of(proxy.account), Network())
    body = b"x" * 1000
    answer = await client.write(Call("put", "PUT", "a b/ü", headers={"x-amz-meta-a": "b"}, body=body))
    listing = await client.brief(Call("list_versions", "GET", None, query=[("versions", ""), ("prefix", "a b/")]))
    await client.close()
    assert (answer.status, listing.status) == (200, 200)
    assert [seen.status for seen in proxy.seen()] == [403, 200, 200]
    stored = accounts["A"].boto3().get_object(Bucket=accounts["A"].s3_bucket_name, Key="a b/ü")
    assert (stored["Body"].read(), stored["Metadata"]) == (body, {"a": "b"})


def test_request_is_refused_when_its_date_is_not_that_of_a_clock_that_is_far_off(
    accounts: dict[str, StoreAccount], proxy: FaultProxy
) -> None:
    proxy.add(Fault.has_wrong_clock(ahead_seconds=CLOCK_SECONDS, signed_again_for=accounts["A"], times=None))
    stamp = {"x-amz-date": "20200101T000000Z"}
    answer = httpx.get(f"{proxy.account.endpoint_url}/bucket-a/k", headers=stamp)
    assert answer.status_code == 403
    assert "RequestTimeTooSkewed" in answer.text

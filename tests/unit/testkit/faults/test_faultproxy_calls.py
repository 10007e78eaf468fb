"""The fault that calls the test: when the request has come, or when it was carried out."""

from collections.abc import Callable

import pytest
from botocore.exceptions import ConnectionClosedError, HTTPClientError

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault


@pytest.mark.parametrize("comes_after", [False, True])
def test_the_action_comes_before_or_after_the_request_is_carried_out(
    accounts: dict[str, StoreAccount], proxied: Callable[[str], FaultProxy], comes_after: bool
) -> None:
    proxy, account = proxied("A"), accounts["A"]
    found: list[list[str]] = []

    def look() -> None:
        found.append([key for key, _ in account.contents().versions])

    proxy.add(Fault.calls(look, operation="put", comes_after=comes_after))
    client = proxy.account.boto3()
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        client.put_object(Bucket=account.s3_bucket_name, Key="k", Body=b"x")
    carried_out = ["k"] if comes_after else []
    assert found == [carried_out]
    assert [key for key, _ in account.contents().versions] == carried_out
    client.put_object(Bucket=account.s3_bucket_name, Key="k", Body=b"x")
    assert [request.fault for request in proxy.seen("put")] == ["calls", None]

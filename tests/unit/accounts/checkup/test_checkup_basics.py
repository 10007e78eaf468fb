"""What a check-up says of an account to which it may not speak, or whose clock is another."""

import asyncio
import dataclasses
from collections.abc import Callable

import pytest

from file.accounts.checkup.diagnosis import CheckState
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.unit.accounts.checkup.checkups import OWNER, checked, crosses, denial, of, states
from tests.unit.s3.network import listening
from tests.unit.s3.rawserver import answering, ok

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]


async def test_the_bucket_is_doubted_when_nothing_at_all_is_allowed(accounts: Accounts) -> None:
    checkup = await checked(dataclasses.replace(accounts["A"], s3_bucket_name="not-there"))
    assert "it is another's, or not there (s3_bucket_name)" in of(checkup, "bucket").detail
    assert {"reached", "clock", "region", "credentials"} == states(checkup, CheckState.OK)
    assert of(checkup, "put").action == "s3:PutObject"
    assert of(checkup, "taken back").detail == "nothing was made"


BASICS = {
    "NoSuchBucket": (Fault.refuses("NoSuchBucket", times=None), "bucket", "has no bucket of the configured name"),
    "AuthorizationHeaderMalformed": (
        Fault.refuses("AuthorizationHeaderMalformed", times=None),
        "region",
        "did not accept the region",
    ),
    "PermanentRedirect": (
        Fault.refuses("PermanentRedirect", headers={"x-amz-bucket-region": "eu-north-1"}, times=None),
        "region",
        "region eu-north-1, not in eu-central-1",
    ),
    "InvalidAccessKeyId": (Fault.refuses("InvalidAccessKeyId", times=None), "credentials", "access_key_id"),
    "ExpiredToken": (Fault.refuses("ExpiredToken", times=None), "credentials", "session_token has expired"),
    "SlowDown": (Fault.refuses("SlowDown", times=None), "reached", "asks us to slow down"),
    "drops": (Fault.drops_connection(times=None), "reached", "dropped the connection"),
}


@pytest.mark.parametrize("name", BASICS)
async def test_one_check_fails_and_nothing_else_is_asked_when_the_account_refuses_everything(
    name: str, proxied: Proxied, accounts: Accounts
) -> None:
    fault, check, words = BASICS[name]
    proxy = proxied("A")
    proxy.add(dataclasses.replace(fault))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {check: None}
    assert words in of(checkup, check).detail
    assert of(checkup, "put").detail == f"because of: {check}"
    assert states(checkup, CheckState.OK) <= {"reached", "clock", "credentials"}
    assert {seen.operation for seen in proxy.requests} == {"list"}
    assert not accounts["A"].contents()


async def test_the_secret_is_told_to_be_wrong_when_it_is(accounts: Accounts) -> None:
    checkup = await checked(dataclasses.replace(accounts["A"], secret_access_key="another"))
    assert crosses(checkup) == {"credentials": None}
    assert "its secret_access_key does not belong to its access_key_id" in of(checkup, "credentials").detail


async def test_the_account_is_told_to_be_away_when_it_refuses_connections(proxied: Proxied) -> None:
    proxy = proxied("A")
    proxy.refuse_connections()
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {"reached": None}
    assert of(checkup, "reached").detail == "it cannot be reached: it refuses connections"


async def test_the_answer_is_told_to_be_none_of_s3_s_when_it_is_a_page(accounts: Accounts) -> None:
    async with answering(ok(b"<html>Sign in</html>")) as url:
        checkup = await checked(accounts["A"].at(url))
    assert crosses(checkup) == {"reached": None}
    assert "in a way that S3 does not" in of(checkup, "reached").detail


async def test_the_owner_is_told_to_be_another_when_only_that_is_refused(accounts: Accounts) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.append(head.split(b" ")[1])
        owned = b"x-amz-expected-bucket-owner" in head.lower()
        writer.write(denial("Access Denied") if owned else ok(b"<ListBucketResult/>", "Connection: close"))

    asked: list[bytes] = []
    async with listening(connected) as port:
        account = accounts["A"].at(f"http://127.0.0.1:{port}")
        checkup = await checked(account, expected_bucket_owner=OWNER)
    assert crosses(checkup) == {"owner": None}
    assert of(checkup, "owner").detail == "the bucket belongs to another than its expected_bucket_owner"
    assert of(checkup, "bucket").state is CheckState.OK
    assert len(asked) == 2


@pytest.mark.parametrize("ahead_seconds", [-1200, 1200])
async def test_the_clock_has_a_cross_when_it_is_twenty_minutes_off(
    ahead_seconds: float, proxied: Proxied, accounts: Accounts
) -> None:
    proxy = proxied("A")
    # The server behind, whose clock is right, must not see the corrected time: only the account's `Date` is wrong.
    proxy.add(Fault.has_wrong_clock(ahead_seconds=ahead_seconds, tolerance_seconds=10_000, times=None))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {"clock": None}
    side = "behind" if ahead_seconds > 0 else "ahead of"
    assert f"our clock is 20 minutes {side} the account's" in of(checkup, "clock").detail
    assert not accounts["A"].contents()


async def test_the_clock_is_followed_when_the_account_refuses_ours(proxied: Proxied, accounts: Accounts) -> None:
    proxy = proxied("A")
    proxy.add(Fault.has_wrong_clock(ahead_seconds=-600, times=None))
    checkup = await checked(proxy.account)
    assert states(checkup, CheckState.WARNED) == {"clock"}
    assert "our clock is 10 minutes ahead of the account's" in of(checkup, "clock").detail
    assert crosses(checkup) == {}
    assert not accounts["A"].contents()


async def test_the_clock_ends_it_when_even_the_account_s_own_time_is_refused(
    proxied: Proxied, accounts: Accounts
) -> None:
    proxy = proxied("A")
    proxy.add(Fault.has_wrong_clock(ahead_seconds=1200, times=None))
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {"clock": None}
    assert of(checkup, "put").detail == "because of: clock"

"""A check-up of accounts that refuse everything or lack something, with faults, and interrupted."""

import asyncio
import dataclasses
import threading
import uuid
from functools import partial

import pytest

from file.accounts.checkup.checks import CHECKS
from file.accounts.checkup.checkup import CheckUp
from file.accounts.checkup.diagnosis import CheckState
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.buckets import NewBucket, s3_buckets
from tests.unit.accounts.checkup.checkups import OWNER, checked, crosses, denial, of, states
from tests.unit.accounts.checkup.conftest import CheckUpOf
from tests.unit.s3.carelessstore import CarelessStore
from tests.unit.s3.network import listening
from tests.unit.s3.rawserver import answering, ok

Accounts = dict[str, StoreAccount]


async def test_the_bucket_has_a_cross_when_nothing_is_allowed(accounts: Accounts) -> None:
    checkup = await checked(dataclasses.replace(accounts["A"], s3_bucket_name="not-there"))
    assert "it is another's, or not there (s3_bucket_name)" in of(checkup, "bucket").detail
    assert {"reached", "clock", "region", "credentials"} == states(checkup, CheckState.OK)
    assert of(checkup, "put").action == "s3:PutObject"
    assert of(checkup, "taken back").detail == "nothing was made"


refuses = partial(Fault.refuses, times=None)
BASICS = {
    "NoSuchBucket": (refuses("NoSuchBucket"), "bucket", "has no bucket of the configured name"),
    "AuthorizationHeaderMalformed": (refuses("AuthorizationHeaderMalformed"), "region", "did not accept the region"),
    "PermanentRedirect": (
        refuses("PermanentRedirect", headers={"x-amz-bucket-region": "eu-north-1"}),
        "region",
        "region eu-north-1, not in eu-central-1",
    ),
    "InvalidAccessKeyId": (refuses("InvalidAccessKeyId"), "credentials", "access_key_id"),
    "ExpiredToken": (refuses("ExpiredToken"), "credentials", "session_token has expired"),
    "SlowDown": (refuses("SlowDown"), "reached", "asks us to slow down"),
    "drops": (Fault.drops_connection(times=None), "reached", "dropped the connection"),
}


@pytest.mark.parametrize("name", BASICS)
async def test_only_one_check_is_made_after_a_refusal(name: str, proxy: FaultProxy, with_faults: CheckUpOf) -> None:
    fault, check, words = BASICS[name]
    checkup = await with_faults(fault)
    assert crosses(checkup) == {check: None}
    assert words in of(checkup, check).detail
    assert of(checkup, "put").detail == f"because of: {check}"
    assert states(checkup, CheckState.OK) <= {"reached", "clock", "credentials"}
    assert {seen.operation for seen in proxy.requests} == {"list"}


async def test_the_credentials_have_a_cross_when_the_secret_is_wrong(accounts: Accounts) -> None:
    checkup = await checked(dataclasses.replace(accounts["A"], secret_access_key="another"))
    assert crosses(checkup) == {"credentials": None}
    assert "its secret_access_key does not belong to its access_key_id" in of(checkup, "credentials").detail


async def test_the_account_is_not_reached_when_it_refuses_connections(proxy: FaultProxy) -> None:
    proxy.refuse_connections()
    checkup = await checked(proxy.account)
    assert crosses(checkup) == {"reached": None}
    assert of(checkup, "reached").detail == "it cannot be reached: it refuses connections"


async def test_the_account_is_not_reached_when_a_web_page_answers(accounts: Accounts) -> None:
    async with answering(ok(b"<html>Sign in</html>")) as url:
        checkup = await checked(accounts["A"].at(url))
    assert crosses(checkup) == {"reached": None}
    assert "in a way that S3 does not" in of(checkup, "reached").detail


async def test_the_owner_has_a_cross_when_only_requests_with_an_owner_are_refused(accounts: Accounts) -> None:
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
async def test_the_clock_has_a_cross_when_it_is_wrong(ahead_seconds: float, with_faults: CheckUpOf) -> None:
    # The server's clock is right and must not see the corrected time: only the account's `Date` is wrong.
    checkup = await with_faults(
        Fault.has_wrong_clock(ahead_seconds=ahead_seconds, tolerance_seconds=10_000, times=None)
    )
    assert crosses(checkup) == {"clock": None}
    side = "behind" if ahead_seconds > 0 else "ahead of"
    assert f"our clock is 20 minutes {side} the account's" in of(checkup, "clock").detail


async def test_the_clock_is_followed_when_the_account_refuses_ours(with_faults: CheckUpOf) -> None:
    checkup = await with_faults(Fault.has_wrong_clock(ahead_seconds=-600, times=None))
    assert states(checkup, CheckState.WARNED) == {"clock"}
    assert "our clock is 10 minutes ahead of the account's" in of(checkup, "clock").detail
    assert crosses(checkup) == {}


async def test_nothing_else_is_checked_when_the_account_refuses_even_its_own_time(with_faults: CheckUpOf) -> None:
    checkup = await with_faults(Fault.has_wrong_clock(ahead_seconds=1200, times=None))
    assert crosses(checkup) == {"clock": None}
    assert of(checkup, "put").detail == "because of: clock"


WRITES = ("put", "complete")


# --- stores that lack something

LACKING = {
    "condition of a put": (
        Fault.refuses("PreconditionFailed", status=200, headers={"ETag": '"e"'}, operation="put", after=1),
        "conditional put",
        '"conditional_writes": false',
    ),
    "condition is not known": (
        Fault.refuses("NotImplemented", status=501, operation="put", after=1),
        "conditional put",
        '"conditional_writes": false',
    ),
    "checksum of a put": (
        Fault.refuses("BadDigest", status=200, headers={"ETag": '"e"'}, operation="put", after=2),
        "checksum of a put",
        '"checksums": false',
    ),
    "bytes": (Fault.damages_reply(operation="get"), "get", "gives other bytes than were stored"),
}


@pytest.mark.parametrize("name", LACKING)
async def test_the_setting_is_named_when_a_store_lacks_what_it_is_for(name: str, with_faults: CheckUpOf) -> None:
    fault, check, words = LACKING[name]
    checkup = await with_faults(fault)
    assert crosses(checkup) == {check: None}
    assert words in of(checkup, check).detail


async def test_writes_have_a_cross_when_a_store_loses_metadata(with_faults: CheckUpOf) -> None:
    checkup = await with_faults(Fault.loses_metadata(times=None))
    assert crosses(checkup) == {"put": None, "complete": None}
    assert all("x-amz-meta-*" in of(checkup, check).detail for check in WRITES)


async def test_every_lack_is_named_when_a_store_checks_nothing(in_store: CheckUpOf) -> None:
    checkup = await in_store(CarelessStore())
    lacks = {"conditional {}": 'set "conditional_writes": false', "checksum of a {}": 'set "checksums": false'}
    checks = {name.format(write): words for name, words in lacks.items() for write in WRITES}
    assert set(crosses(checkup)) == set(checks)
    assert all(words in of(checkup, check).detail for check, words in checks.items())
    checkup = await in_store(CarelessStore(), checksums=False, conditional_writes=False)
    assert set(crosses(checkup)) == {"checksum of a put"}
    assert "Content-MD5" in of(checkup, "checksum of a put").detail


# --- trouble on the way


@pytest.mark.parametrize("operation", ["put", "begin", "part", "complete", "abort", "delete", "head", "get"])
async def test_nothing_is_left_when_an_answer_is_lost(operation: str, with_faults: CheckUpOf) -> None:
    checkup = await with_faults(Fault.loses_reply(operation=operation))
    assert checkup.left == []
    if operation in ("put", "begin", "part", "complete"):  # not asked again: it may have landed
        assert "dropped the connection before it answered" in repr(checkup.results)
    else:
        assert crosses(checkup) == {}


async def test_requests_are_repeated_when_the_account_fails_for_a_moment(with_faults: CheckUpOf) -> None:
    operations = ("list", "put", "begin", "part", "complete", "abort", "head", "get", "delete", "list_uploads")
    faults = [Fault.refuses(code, operation=each) for each in operations for code in ("SlowDown", "InternalError")]
    assert crosses(await with_faults(*faults)) == {}


async def test_the_rest_is_not_checked_when_the_account_begins_to_fail(with_faults: CheckUpOf) -> None:
    checkup = await with_faults(Fault.refuses("InternalError", operation="part", times=3))
    assert crosses(checkup) == {"part": None}
    assert of(checkup, "delete").detail == "because of: part"


async def test_keys_are_listed_when_nothing_may_be_deleted(proxy: FaultProxy, accounts: Accounts) -> None:
    proxy.add(Fault.refuses("AccessDenied", operation="delete", times=None))
    checkup = await checked(proxy.account)
    left = [key for key, _ in accounts["A"].contents().versions]
    assert len(left) == 2
    assert sorted(checkup.left) == sorted(left)
    assert crosses(checkup) == {
        "delete of a version": "s3:DeleteObjectVersion",
        "delete": "s3:DeleteObject",
        "taken back": None,
    }
    assert ", ".join(sorted(left)) in of(checkup, "taken back").detail


async def test_keys_are_listed_when_an_object_lock_keeps_them(new_bucket: NewBucket, accounts: Accounts) -> None:
    account = new_bucket("A", f"locked-{uuid.uuid4()}", object_lock=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    account.boto3().put_object_lock_configuration(Bucket=account.s3_bucket_name, ObjectLockConfiguration=rule)
    checkup = await checked(account)
    assert crosses(checkup) == {"delete of a version": None, "taken back": None}
    assert "an object lock keeps what was written" in of(checkup, "delete of a version").detail
    assert set(checkup.left) == {key for key, _ in account.contents().versions}


@pytest.mark.parametrize("operation", ["put", "begin", "part", "complete", "delete"])
async def test_nothing_is_left_when_it_is_interrupted(operation: str, proxy: FaultProxy, accounts: Accounts) -> None:
    interrupted = threading.Event()
    proxy.add(Fault.holds_reply(interrupted, operation=operation))
    async with s3_buckets(proxy.account) as [bucket]:
        checkup = CheckUp(bucket.client, settle_seconds=0.1)
        running = asyncio.ensure_future(checkup.run())
        await proxy.wait_until(operation)
        running.cancel()
        await asyncio.sleep(0)  # it is interrupted during the request
        interrupted.set()
        await asyncio.wait((running,))
        assert running.cancelled()
    assert checkup.left == []
    assert len(checkup.results) == len(CHECKS)
    assert "because of: an interruption" in repr(checkup.results)
    assert not accounts["A"].contents()
    await proxy.wait_until(count=len(proxy.requests), ended=True)  # every request ends soon

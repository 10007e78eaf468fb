"""A check-up that ran to its end, and what it found."""

from typing import Any

from file.accounts.checkup.checks import CHECKS
from file.accounts.checkup.checkup import CheckUp
from file.accounts.checkup.diagnosis import CheckResult, CheckState
from testkit.account import StoreAccount
from tests.buckets import s3_buckets

OWNER = "111122223333"


async def checked(account: StoreAccount, **options: Any) -> CheckUp:
    """A check-up; its results contain no secret."""
    async with s3_buckets(account, **options) as [bucket]:
        checkup = CheckUp(bucket.client, pause_seconds=0.01, settle_seconds=0.1)
        await checkup.run()
    assert [result.check for result in checkup.results] == list(CHECKS)
    assert account.access_key_id not in repr(checkup.results)
    assert account.secret_access_key not in repr(checkup.results)
    return checkup


def crosses(checkup: CheckUp) -> dict[str, str | None]:
    return {result.check: result.action for result in checkup.results if result.state is CheckState.FAILED}


def of(checkup: CheckUp, check: str) -> CheckResult:
    return next(result for result in checkup.results if result.check == check)


def states(checkup: CheckUp, state: CheckState) -> set[str]:
    return {result.check for result in checkup.results if result.state is state}


def denial(message: str) -> bytes:
    body = f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>".encode()
    return b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)

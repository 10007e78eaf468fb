"""One upload into accounts in trouble: its answer is the expected one, and then every account is asked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from testkit.faults.faultproxy import FaultProxy
from tests.faults.asking import assert_removed_is_true, assert_settles
from tests.faults.matrix import Kind
from tests.faults.oracle import ACCOUNT_BYTES_PER_SECOND, PART_BYTES, STALL_SECONDS, Expected, size_of
from tests.faults.sending import put
from tests.faults.strikes import Strike
from tests.service.conftest import Accounts, serving
from tests.service.receipts import answer_when, assert_told
from tests.service.sizes import PATIENT, content
from tests.serving import Running

# The grace is long, so that the answer has every account that gets the file. The clean-up looks at once.
LIMITS = {**PATIENT, "part_size": PART_BYTES, "grace_seconds": 20.0, "attempts": 3, "lease_seconds": 1.5}
# For accounts that hang or are slow.
SHORT = {
    "stall_seconds": STALL_SECONDS,
    "account_bytes_per_second": ACCOUNT_BYTES_PER_SECOND,
    "complete_seconds": STALL_SECONDS,
    "remove_seconds": STALL_SECONDS,
}


async def assert_told_and_true(
    accounts: Accounts, proxies: Mapping[str, FaultProxy], strikes: Sequence[Strike], expected: Expected
) -> None:
    """Upload while the accounts behind these proxies are struck."""
    served = accounts | {name: proxy.account for name, proxy in proxies.items()}
    case, is_short = strikes[0].case, any(strike.case.kind in (Kind.HANGS, Kind.SLOW) for strike in strikes)
    size = size_of(case)
    async with serving(*(served[name] for name in accounts), **LIMITS | (SHORT if is_short else {})) as service:
        uploads = service.application.uploads
        for strike in strikes:
            strike.begin()
        try:
            told = await _upload(service, size, case.ack, expected)
            if not expected.acknowledged:
                await assert_removed_is_true(accounts, told)
            await _none(lambda: uploads.stragglers.under_way)
        finally:
            for strike in strikes:
                strike.end()
        await assert_settles(service, accounts, content(size) if expected.acknowledged else None, told=told)
        await _none(lambda: uploads.budget.used)
    assert all(strike.happened for strike in strikes)


async def _upload(service: Running, size: int, ack: str, expected: Expected) -> Mapping[str, Any]:
    told = assert_told(await put(service, content(size), ack=ack), expected.status, expected.codes)
    for name, outcome in told["accounts"].items():
        assert outcome["status"] in expected.states[name], (name, outcome)
    async with service.client() as client:
        read = await client.get("/files/k", headers={"range": "bytes=-100"})  # all of it is read in the end
    if expected.acknowledged:
        assert (read.status_code, read.content) == (206, content(size)[-100:]), read.status_code
    else:
        assert read.status_code == 404, read.status_code
    return told


async def _none(count: Callable[[], int]) -> None:
    """Wait until the count is 0."""

    async def counted() -> int:
        return count()

    await answer_when(counted, lambda number: number == 0)

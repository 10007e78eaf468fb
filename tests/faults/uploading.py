"""One upload into accounts in trouble: what was told is held against what was expected, and then everybody is asked."""

from collections.abc import Callable, Mapping
from typing import Any

from testkit.account import StoreAccount
from tests.faults.asking import assert_removed_is_true, assert_settles
from tests.faults.oracle import ACCOUNT_BYTES_PER_SECOND, PART_BYTES, STALL_SECONDS, Expected
from tests.faults.sending import put
from tests.service.conftest import Accounts, serving
from tests.service.receipts import answer_when, assert_told
from tests.service.sizes import PATIENT, content
from tests.serving import Running

# The grace is long, so that whoever has the file in the end is in the answer. The clean-up looks at once.
LIMITS = {**PATIENT, "part_size": PART_BYTES, "grace_seconds": 20.0, "attempts": 3, "lease_seconds": 1.5}
# For accounts that hang, and those that are slow.
SHORT = {
    "stall_seconds": STALL_SECONDS,
    "account_bytes_per_second": ACCOUNT_BYTES_PER_SECOND,
    "complete_seconds": STALL_SECONDS,
    "remove_seconds": STALL_SECONDS,
}


async def assert_told_and_true(
    accounts: Accounts,
    served: Mapping[str, StoreAccount],
    expected: Expected,
    *,
    size: int,
    ack: str,
    short: bool,
    begin: Callable[[], object],
    end: Callable[[], object],
) -> None:
    """Upload while the accounts, served by way of `served`, are in trouble. `begin` and `end` are the trouble's."""
    async with serving(*served.values(), **LIMITS | (SHORT if short else {})) as service:
        uploads = service.application.uploads
        begin()
        try:
            told = await _upload(service, size, ack, expected)
            if not expected.acknowledged:
                await assert_removed_is_true(accounts, told)
            await _none(lambda: uploads.stragglers.under_way)
        finally:
            end()
        await assert_settles(service, accounts, content(size) if expected.acknowledged else None, told=told)
        await _none(lambda: uploads.budget.used)


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
    """Wait until there is none of it any more."""

    async def counted() -> int:
        return count()

    await answer_when(counted, lambda number: number == 0)

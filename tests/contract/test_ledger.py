"""What a ledger promises the flow: the one in memory, and the real one on both databases."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from file.ledger.commit.ledger import DatabaseLedger
from file.logic.errors import (
    ConditionFailedError,
    IdempotencyKeyBusyError,
    IdempotencyKeyReusedError,
    KeyBusyError,
    KeyTakenError,
)
from file.logic.ports import Ledger
from file.logic.values import Intent, Receipt
from testkit.memoryledger import MemoryLedger
from tests.intents import intent, pending, receipt, stored


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def alias(request: pytest.FixtureRequest) -> str | None:
    """None for the ledger in memory."""
    return None if request.param == "memory" else request.getfixturevalue(f"{request.param}_database")


@pytest.fixture
async def ledger(alias: str | None) -> AsyncIterator[Ledger]:
    if alias is None:
        yield MemoryLedger()
        return
    async with DatabaseLedger(alias, lease_seconds=30, wait_seconds=5, settle_seconds=1) as opened:
        yield opened


async def done(ledger: Ledger, wanted: Intent, behind: str = "") -> Receipt:
    """An upload from its intent to its outcome."""
    assert await ledger.intend(wanted) is None
    concluded = receipt(wanted, behind=behind)
    assert await ledger.conclude(concluded)
    return concluded


def same(found: Receipt | None, expected: Receipt) -> bool:
    """Equal except for the times, which only a database knows."""
    return found is not None and dataclasses.replace(found, created_at=None, stored_at=None) == expected


async def test_a_key_is_busy_when_it_is_being_uploaded(ledger: Ledger) -> None:
    assert await ledger.intend(intent()) is None
    with pytest.raises(KeyBusyError):
        await ledger.intend(intent())
    assert await ledger.intend(intent("another")) is None


async def test_the_receipt_is_returned_when_the_key_has_a_file(ledger: Ledger) -> None:
    first = await done(ledger, intent())
    assert same(await ledger.intend(intent()), first)


async def test_a_key_is_taken_when_it_has_a_file_and_the_request_has_an_idempotency_key(ledger: Ledger) -> None:
    await done(ledger, intent())
    with pytest.raises(KeyTakenError):
        await ledger.intend(intent(idempotency_key="new"))


@pytest.mark.parametrize("multipart", [False, True])
async def test_a_key_is_free_again_when_the_file_was_removed_everywhere(ledger: Ledger, multipart: bool) -> None:
    first = intent(part_size=8 if multipart else None)
    assert await ledger.intend(first) is None
    if multipart:
        ledger.begun(first.id, "A", "upload")
    assert await ledger.conclude(receipt(first, gone="ABC"))
    assert await ledger.intend(intent()) is None


async def test_the_first_receipt_is_returned_when_the_idempotency_key_is_repeated(ledger: Ledger) -> None:
    first = await done(ledger, intent("k1", idempotency_key="once"))
    assert same(await ledger.intend(intent("k2", idempotency_key="once")), first)
    assert await ledger.intend(intent("k3", idempotency_key="once", who="another")) is None


async def test_the_idempotency_key_is_busy_when_its_first_upload_is_under_way(ledger: Ledger) -> None:
    assert await ledger.intend(intent("k1", idempotency_key="once")) is None
    with pytest.raises(IdempotencyKeyBusyError):
        await ledger.intend(intent("k2", idempotency_key="once"))


@pytest.mark.parametrize("key_is_chosen", [False, True])
async def test_the_idempotency_key_is_refused_when_the_name_or_the_chosen_key_differs(
    ledger: Ledger, key_is_chosen: bool
) -> None:
    await done(ledger, intent("k1", idempotency_key="once", key_is_chosen=key_is_chosen))
    changes = {"key_is_chosen": True} if key_is_chosen else {"name": "another"}
    with pytest.raises(IdempotencyKeyReusedError):
        await ledger.intend(intent("k2", idempotency_key="once", **changes))


async def test_the_idempotency_key_is_free_again_when_its_first_upload_failed(ledger: Ledger) -> None:
    first = intent("k1", idempotency_key="once")
    assert await ledger.intend(first) is None
    assert await ledger.conclude(receipt(first, gone="ABC"))
    assert await ledger.intend(intent("k2", idempotency_key="once")) is None


async def test_nothing_is_claimed_when_a_certain_file_is_expected(ledger: Ledger) -> None:
    first = await done(ledger, intent(idempotency_key="once"))
    for key in (None, "once"):
        assert same(await ledger.intend(intent(expected_id=first.id, idempotency_key=key)), first)
        with pytest.raises(ConditionFailedError):
            await ledger.intend(intent(expected_id="another", idempotency_key=key))
    with pytest.raises(KeyTakenError):
        await ledger.intend(intent(expected_id=first.id, idempotency_key="twice"))
    with pytest.raises(ConditionFailedError):
        await ledger.intend(intent("free", expected_id=first.id))
    assert await ledger.intend(intent("free")) is None


async def test_the_outcome_is_recorded_when_its_upload_is_cancelled_meanwhile(ledger: Ledger) -> None:
    for moment in range(5):
        await ledger.intend(wanted := intent(f"k{moment}"))
        concluding = asyncio.create_task(ledger.conclude(receipt(wanted)))
        for _ in range(1 + moment):
            await asyncio.sleep(0)
        concluding.cancel()
        assert await concluding
        assert same(await ledger.intend(intent(f"k{moment}")), receipt(wanted))


async def test_a_pending_account_is_recorded_when_it_has_the_file_later(ledger: Ledger) -> None:
    first = intent()
    await done(ledger, first, behind="B")
    assert await ledger.follow(first.id, stored(first.places[1]))
    found = await ledger.intend(intent())
    assert found is not None
    assert found.acknowledged


async def test_a_pending_account_is_recorded_when_it_does_not_get_the_file(ledger: Ledger) -> None:
    first = intent()
    await done(ledger, first, behind="AB")
    assert await ledger.follow(first.id, pending(first.places[0], code="account_unreachable"))
    assert await ledger.follow(first.id, pending(first.places[1], code="access_refused", retryable=False))


async def test_a_pending_account_may_publish_until_its_outcome_is_recorded(ledger: Ledger) -> None:
    first, other = intent(), intent("another")
    assert await ledger.intend(other) is None
    await done(ledger, first, behind="B")
    assert await ledger.may_publish(first.id, "B")
    assert await ledger.follow(first.id, stored(first.places[1]))

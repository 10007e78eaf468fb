"""The registry's accounts, before and after they are connected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from file.logic.accounts.registry import Registry
from file.logic.errors import AccessRefusedError, AccountUnreachableError
from file.logic.values import Account
from testkit.memorybucket import MemoryBucket, account

A, B = account("A"), account("B", "of/ours/")


async def test_accounts_are_connected_in_their_order_until_the_block_ends() -> None:
    open_now: list[str] = []

    @asynccontextmanager
    async def connect(account: Account) -> AsyncIterator[MemoryBucket]:
        open_now.append(account.name)
        yield MemoryBucket(account.name)
        open_now.remove(account.name)

    registry = Registry([B, A])
    assert (registry.names, registry.accounts, registry.storages) == (("B", "A"), (B, A), [])
    assert (registry.account("B"), registry.account("C"), registry.find("B")) == (B, None, None)
    assert (registry.longest_prefix_bytes, Registry([]).longest_prefix_bytes) == (8, 0)
    async with registry.connected(connect):
        assert open_now == [storage.account.name for storage in registry.storages] == ["B", "A"]
        assert registry.storage("A") is registry.find("A") is not None
    assert open_now == []


async def test_open_accounts_are_closed_when_a_later_one_cannot_be_connected() -> None:
    closed: list[str] = []

    @asynccontextmanager
    async def connect(account: Account) -> AsyncIterator[MemoryBucket]:
        if account.name == "B":
            raise ConnectionRefusedError
        try:
            yield MemoryBucket(account.name)
        finally:
            closed.append(account.name)

    with pytest.raises(ConnectionRefusedError):
        async with Registry([A, B]).connected(connect):
            raise AssertionError
    assert closed == ["A"]


async def test_a_new_connection_replaces_the_former_and_the_account_stays_paused_until_it_answers() -> None:
    registry, first, second = Registry([A, B]), MemoryBucket("A"), MemoryBucket("A", prefix="another/")
    registry.use(first)
    breaker = registry.breaker("A")
    breaker.failed(AccessRefusedError("A", "put"))  # about one file
    for _ in range(3):
        assert registry.left_alone == frozenset()
        breaker.failed(AccountUnreachableError("A", "put"))
    registry.use(second)
    assert registry.storage("A") is second
    assert (registry.account("A"), registry.names) == (second.account, ("A", "B"))
    assert registry.breaker("A") is breaker
    assert registry.left_alone == {"A"}
    await breaker.passes()
    assert (first.calls["probe"], second.calls["probe"], registry.left_alone) == (0, 1, frozenset())

"""Check-ups of account A: behind a fault proxy, and in a store of the test's own. They leave nothing behind."""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from file.accounts.checkup.checkup import CheckUp
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.unit.accounts.checkup.checkups import checked
from tests.unit.s3.carelessstore import CarelessStore

CheckUpOf = Callable[..., Awaitable[CheckUp]]


@pytest.fixture
def proxy(proxied: Callable[[str], FaultProxy]) -> FaultProxy:
    return proxied("A")


@pytest.fixture
def with_faults(proxy: FaultProxy, accounts: dict[str, StoreAccount]) -> CheckUpOf:
    """`await with_faults(fault, ...)`: the proxy has these faults."""

    async def check(*faults: Fault) -> CheckUp:
        proxy.add(*map(dataclasses.replace, faults))
        checkup = await checked(proxy.account)
        assert not accounts["A"].contents()
        return checkup

    return check


@pytest.fixture
def in_store(accounts: dict[str, StoreAccount]) -> CheckUpOf:
    """`await in_store(store)`: account A is in this store."""

    async def check(store: CarelessStore, **options: Any) -> CheckUp:
        async with store.running():
            checkup = await checked(accounts["A"].at(store.url), **options)
        assert not store.objects
        assert not store.uploads
        return checkup

    return check

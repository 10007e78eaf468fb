"""The registry: which accounts there are, how each is reached, whether it is retired, and whether it answers.

Promises: it is the only owner of these facts. A caller asks for one when it needs it and keeps no copy, so that a
retirement, or new credentials of an account, count for all at once. Leaves to others: which of the accounts a file goes
to (`placement.py`), and what the ledger says of retirements (`file/accounts/presence.py` brings it here).
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from file.logic.accounts.circuitbreaker import Breaker
from file.logic.ports import StorageAccount
from file.logic.values import Account

Connect = Callable[[Account], AbstractAsyncContextManager[StorageAccount]]


class Registry:
    """`accounts`: those of the settings, in their order. Once they are connected it belongs to one event loop.

    `retired`: the names of accounts that get no new files, whether they are configured or not.
    """

    def __init__(self, accounts: Iterable[Account]) -> None:
        self.retired: frozenset[str] = frozenset()
        self._accounts = {account.name: account for account in accounts}
        self._storages: dict[str, StorageAccount] = {}
        self._breakers: dict[str, Breaker] = {}

    @asynccontextmanager
    async def connected(self, connect: Connect) -> AsyncIterator[None]:
        """Reach each account by what `connect` gives for it, until the block ends."""
        async with AsyncExitStack() as stack:
            for account in self.accounts:
                self.use(await stack.enter_async_context(connect(account)))
            yield

    def use(self, storage: StorageAccount) -> None:
        """From now on everybody reaches the account by this."""
        name = storage.account.name
        self._accounts[name] = storage.account
        self._storages[name] = storage
        self._breakers.setdefault(name, Breaker(name, lambda: self._storages[name].probe()))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the accounts that are configured."""
        return tuple(self._accounts)

    @property
    def accounts(self) -> tuple[Account, ...]:
        return tuple(self._accounts.values())

    def account(self, name: str) -> Account | None:
        """None if it is not configured."""
        return self._accounts.get(name)

    @property
    def storages(self) -> list[StorageAccount]:
        """Those of all accounts that are connected."""
        return [self._storages[name] for name in self._accounts if name in self._storages]

    def storage(self, name: str) -> StorageAccount:
        """Of an account that is connected."""
        return self._storages[name]

    def find(self, name: str) -> StorageAccount | None:
        """None if no account of this name is connected."""
        return self._storages.get(name)

    def breaker(self, name: str) -> Breaker:
        """Of an account that is connected."""
        return self._breakers[name]

    @property
    def left_alone(self) -> frozenset[str]:
        """The accounts that background work leaves alone, because they did not answer."""
        return frozenset(name for name, breaker in self._breakers.items() if breaker.is_open)

    @property
    def longest_prefix_bytes(self) -> int:
        return max((len(account.prefix.encode()) for account in self._accounts.values()), default=0)

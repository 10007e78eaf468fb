"""The registry: which accounts there are, how each is reached, whether it is retired, and whether it answers.

Promises: it is the only owner of these facts. A caller asks when it needs a fact and keeps no copy, so that a
retirement, or new credentials, take effect everywhere at once. Leaves to others: which accounts get a file
(`placement.py`), and reading the retirements from the ledger (`file/accounts/presence.py` writes them here).
"""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from file.logic.accounts.circuitbreaker import Breaker
from file.logic.ports import StorageAccount
from file.logic.values import Account

Connect = Callable[[Account], AbstractAsyncContextManager[StorageAccount]]


class Registry:
    """`accounts`: those of the settings, in their order. After connecting, it belongs to one event loop.

    `retired`: the names of accounts that get no new files, configured or not.
    """

    def __init__(self, accounts: Iterable[Account]) -> None:
        self.retired: frozenset[str] = frozenset()
        self._accounts = {account.name: account for account in accounts}
        self._storages: dict[str, StorageAccount] = {}
        self._breakers: dict[str, Breaker] = {}

    @asynccontextmanager
    async def connected(self, connect: Connect) -> AsyncIterator[None]:
        """Connects each account with `connect`, until the block ends."""
        async with AsyncExitStack() as stack:
            for account in self.accounts:
                self.use(await stack.enter_async_context(connect(account)))
            yield

    def use(self, storage: StorageAccount) -> None:
        """Replaces the connection of the account for all callers."""
        name = storage.account.name
        self._accounts[name] = storage.account
        self._storages[name] = storage
        if name not in self._breakers:
            self._breakers[name] = Breaker(name, lambda: self._storages[name].probe())

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the configured accounts."""
        return tuple(self._accounts)

    @property
    def accounts(self) -> tuple[Account, ...]:
        return tuple(self._accounts.values())

    def account(self, name: str) -> Account | None:
        """The account with this name; None if it is not configured."""
        return self._accounts.get(name)

    @property
    def storages(self) -> list[StorageAccount]:
        return [self._storages[name] for name in self._accounts if name in self._storages]

    def storage(self, name: str) -> StorageAccount:
        return self._storages[name]

    def find(self, name: str) -> StorageAccount | None:
        """The connected account with this name, or None."""
        return self._storages.get(name)

    def breaker(self, name: str) -> Breaker:
        return self._breakers[name]

    @property
    def left_alone(self) -> frozenset[str]:
        """The names of accounts that background work pauses, because they did not answer."""
        return frozenset(name for name, breaker in self._breakers.items() if breaker.is_open)

    @property
    def longest_prefix_bytes(self) -> int:
        return max((len(account.prefix.encode()) for account in self._accounts.values()), default=0)

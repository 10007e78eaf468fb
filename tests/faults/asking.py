"""How every case ends: the faults are over, the clean-up settles, and every account is asked, with boto3.

Acknowledged: who is told to have the file has exactly the file, and nothing else lies anywhere. Refused: nothing is
left, in no account and not in the ledger. Always: nothing lies anywhere that the ledger does not know of.
"""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from file.models import File
from testkit.account import Contents, StoreAccount
from tests.service.conftest import Accounts
from tests.service.owners import asking
from tests.service.receipts import answer_when
from tests.serving import Running
from tests.unit.ledger.looking import ask

ACKNOWLEDGED = ("stored", "partial")


@dataclass(frozen=True)
class Found:
    """The ledger's word (None: it has no such file) beside the accounts' own."""

    state: str | None
    replicas: Mapping[str, str]
    contents: Mapping[str, Contents]

    @property
    def nothing(self) -> bool:
        return self.state is None and not any(self.contents.values())

    @property
    def open_uploads(self) -> bool:
        return any(contents.uploads for contents in self.contents.values())

    @property
    def having(self) -> set[str]:
        return {name for name, contents in self.contents.items() if contents.versions}

    @property
    def agreed(self) -> bool:
        """The ledger says of each account what is so. One that is blocked has the file or nothing, until a person acts;
        catch-up has brought it to all others.
        """
        stored = {name for name, state in self.replicas.items() if state == "stored"}
        blocked = {name for name, state in self.replicas.items() if state == "blocked"}
        state = "stored" if stored == self.contents.keys() else "partial"
        settled = stored | blocked == self.replicas.keys() and stored <= self.having <= stored | blocked
        return not self.open_uploads and settled and self.state == state


async def in_ledger(service: Running, key: str = "k") -> tuple[str | None, dict[str, str]]:
    def read() -> tuple[str | None, dict[str, str]]:
        file = File.objects.using(service.database).filter(live=True, key=key).first()
        if file is None:
            return None, {}
        return file.state, dict(file.replicas.values_list("account", "state"))

    return await ask(service.database, read)


async def find(service: Running, accounts: Accounts) -> Found:
    # First the accounts: what comes into one of them in between, the ledger is asked for afterwards.
    asked = await asyncio.gather(*(asyncio.to_thread(account.contents) for account in accounts.values()))
    state, replicas = await in_ledger(service)
    return Found(state, replicas, dict(zip(accounts, asked, strict=True)))


async def assert_settles(service: Running, accounts: Accounts, body: bytes | None, *, told: Mapping[str, Any]) -> None:
    """The file is where it was said to be, or nowhere if `body` is None: once the clean-up has settled."""
    # The accounts are asked only then, because boto3 takes the time that the clean-up needs.
    settled = {"stored", "blocked"} if body is not None else set[str]()
    await answer_when(lambda: in_ledger(service), lambda found: settled.issuperset(found[1].values()))
    if body is None:
        await answer_when(lambda: find(service, accounts), lambda found: found.nothing)
        return
    found = await answer_when(lambda: find(service, accounts), lambda found: found.agreed)
    assert found.state in ACKNOWLEDGED
    promised = {name for name, outcome in told["accounts"].items() if outcome["status"] == "stored"}
    assert promised <= found.having, f"{promised - found.having} lost it"
    for name in found.having:
        await assert_exactly(accounts[name], body)


async def assert_exactly(account: StoreAccount, body: bytes, key: str = "k") -> None:
    """One version of one object, and its bytes."""

    def read() -> bytes:
        found: bytes = asking(account).get_object(Bucket=account.s3_bucket_name, Key=key)["Body"].read()
        return found

    contents = await asyncio.to_thread(account.contents)
    assert [found for found, _ in contents.versions] == [key], f"{account.name}: {contents}"
    assert contents.uploads == [], f"{account.name}: {contents}"
    assert await asyncio.to_thread(read) == body, f"{account.name}: other bytes"


async def assert_removed_is_true(accounts: Accounts, told: Mapping[str, Any]) -> None:
    """Whoever is told that everything was removed finds nothing, at once."""
    removed = [name for name, outcome in told["accounts"].items() if outcome["status"] == "removed"]
    await assert_nothing_in(accounts, removed)


async def assert_nothing_in(accounts: Accounts, names: Collection[str]) -> None:
    for name in names:
        contents = await asyncio.to_thread(accounts[name].contents)
        assert not contents, f"{name}: {contents}"

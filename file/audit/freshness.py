"""Freshness: detects that the ledger is older than the objects in the accounts, because a copy replaced it.

A complete listing would cost too much. So at the start, and a few times a day, three pages of each account's listing
are examined: the first page, the page after the last file in the ledger (keys that we make begin with the time), and
the page after a random file. An object with our installation's id, of a file that the ledger does not have, was
acknowledged by a later state of the ledger. This is logged as an error and marked in the ledger; from then on nothing
is cleaned.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from file.ledger.audit.known import KnownObjects
from file.ledger.audit.replicas import Replicas
from file.ledger.installations import NO_INSTALLATION, Installations
from file.logic.accounts.registry import Registry
from file.logic.backoff import spread
from file.logic.errors import AccountError, LedgerUnavailableError
from file.logic.naming import begun_at, can_be_ours
from file.logic.ports import FoundObject, StorageAccount
from file.logic.values import FILE_ID, FILE_INSTALLATION

_log = structlog.get_logger()
_SECONDS = 8 * 3600.0  # between two looks, at most; half of it, at least
_LOOKS = 32  # per page, at objects that the ledger does not know
_CURE = "stop the service, and run: python manage.py ledger rebuild --older-copy"
_NEW = timedelta(days=1)  # a ledger that is no older, beside objects of other installations, may have replaced one
_AT_FIRST_SECONDS = 10.0


@dataclass(eq=False, slots=True)
class Freshness:
    """`first_seconds`: the first look is within this time."""

    known_objects: KnownObjects
    installations: Installations
    replicas: Replicas
    registry: Registry
    first_seconds: float

    async def run(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for name in self.registry.names:
                group.create_task(self._watch(name))

    async def look_everywhere(self) -> None:
        """One look into each account; an account that does not answer within some seconds is omitted."""
        looks = {asyncio.create_task(self._look_safely(name)) for name in self.registry.names}
        _, late = await asyncio.wait(looks, timeout=_AT_FIRST_SECONDS)
        for look in late:
            look.cancel()
        if late:
            await asyncio.wait(late)

    async def _watch(self, account: str) -> None:
        seconds = self.first_seconds
        while True:
            # Never in step with other processes: many may start at once.
            await asyncio.sleep(spread(seconds))
            seconds = _SECONDS
            await self.registry.breaker(account).passes()
            await self._look_safely(account)

    async def _look_safely(self, account: str) -> None:
        try:
            await self.look(self.registry.storage(account))
        except AccountError as error:
            _log.warning("freshness_unknown", account=account, code=error.code, detail=error.detail)
        except LedgerUnavailableError as error:
            _log.warning("freshness_unknown", account=account, detail=error.detail)
        except Exception:  # noqa: BLE001 - logged, and tried again; the other accounts go on
            _log.exception("freshness_crashed", account=account)

    async def look(self, account: StorageAccount) -> bool:
        """Whether the ledger seems up to date. Raises `AccountError`, `LedgerUnavailableError`."""
        ownership = await self.installations.read()
        last = await self.known_objects.last_begun()
        found = await self._unknown(account, last)
        lost = [(key, seen) for key, seen in found if seen.metadata.get(FILE_INSTALLATION) in ownership.ours]
        name = account.account.name
        if lost:
            key, seen = lost[0]
            members = {"account": name, "object_key": key, "id": seen.metadata[FILE_ID], "cure": _CURE}
            _log.error("ledger_is_behind", **members)
            await self.installations.mark_behind()
        elif found and (last is None or ownership.created_at > datetime.now(UTC) - _NEW):
            whose = sorted({seen.metadata.get(FILE_INSTALLATION, NO_INSTALLATION) for _, seen in found})
            cure = f"if the ledger was lost: python manage.py ledger rebuild --adopt {whose[0]}"
            _log.error("ledger_is_new", account=name, installations=whose, cure=cure)
        return not lost

    async def _unknown(self, account: StorageAccount, last: datetime | None) -> list[tuple[str, FoundObject]]:
        """Objects on a few pages whose file is not in the ledger."""
        prefix = account.account.prefix
        chosen = await self.replicas.one(account.account.name)
        if chosen is not None:
            await self._seen(account, chosen.object_key)  # the account shows whether it gives metadata back
        behind = {prefix}
        behind |= set() if last is None else {f"{prefix}{int(last.timestamp())}"}
        behind |= set() if chosen is None else {chosen.object_key}
        found: dict[str, FoundObject] = {}
        for object_key in behind:
            found |= await self._unknown_of(account, await account.keys_behind(object_key))
        fates = await self.known_objects.fates({seen.metadata[FILE_ID] for seen in found.values()})
        return [(key, seen) for key, seen in sorted(found.items()) if seen.metadata[FILE_ID] not in fates]

    async def _unknown_of(self, account: StorageAccount, object_keys: Sequence[str]) -> dict[str, FoundObject]:
        """Objects on one page that have a file's id and no key of the ledger."""
        known = await self.known_objects.known(account.account, object_keys)
        prefix = account.account.prefix
        keys = [key for key in object_keys if key not in known and can_be_ours(key.removeprefix(prefix))]
        found = {}
        for key in random.sample(keys, min(_LOOKS, len(keys))):
            seen = await self._seen(account, key)
            if seen is not None and begun_at(seen.metadata.get(FILE_ID, "")) is not None:
                found[key] = seen
        return found

    async def _seen(self, account: StorageAccount, object_key: str) -> FoundObject | None:
        """None also if the account refuses access to this object only."""
        try:
            return await account.look(object_key)
        except AccountError as error:
            if error.retryable:
                raise
            return None

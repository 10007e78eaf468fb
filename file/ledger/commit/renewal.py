"""Renews the leases of the uploads under way in this process, three times per lease."""

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from file.ledger import states
from file.ledger.commit.writer import Writer
from file.logic.errors import LedgerUnavailableError
from file.models import File, Replica

_log = structlog.get_logger()


class Renewal:
    """`files` are ids, `replicas` ids and accounts; their worker adds and removes them."""

    def __init__(self, writer: Writer, alias: str, owner: str, lease_seconds: float) -> None:
        self.files: set[str] = set()
        self.replicas: set[tuple[str, str]] = set()
        self._writer = writer
        self._alias = alias
        self._owner = owner
        self._lease = timedelta(seconds=lease_seconds)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._over_and_over())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _over_and_over(self) -> None:
        while True:
            await asyncio.sleep(self._lease.total_seconds() / 3)
            files, replicas = list(self.files), list(self.replicas)
            if not files and not replicas:
                continue
            try:
                await self._writer.run(partial(self._renew, files, replicas))
            except LedgerUnavailableError as error:
                _log.warning("lease_not_renewed", files=len(files), replicas=len(replicas), error=repr(error.__cause__))
            except Exception:  # noqa: BLE001 - or every upload that takes longer than its lease would be lost
                _log.exception("renewal_crashed")

    def _renew(self, files: list[str], replicas: list[tuple[str, str]]) -> None:
        ours = File.objects.using(self._alias).filter(owner=self._owner)
        for start in range(0, len(files), 500):
            states.renew(ours.filter(pk__in=files[start : start + 500]), self._lease)
        for file_id, account in replicas:
            followed = Replica.objects.using(self._alias).filter(file_id=file_id, account=account)
            states.hold(followed.filter(owner=self._owner), self._lease, begins=True)

"""Verifying as `manage.py verify` does it, in the test's own event loop."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from file.audit.findings import AccountFindings, Findings
from file.audit.orphans import Orphans
from file.audit.verify import Plan, Verify
from file.ledger.audit.known import KnownObjects
from file.ledger.audit.replicas import Replicas
from file.ledger.audit.verification import Verification
from file.ledger.database.threads import ReadingThreads
from file.ledger.installations import Installations
from file.s3.bucket import S3Bucket
from testkit.account import StoreAccount
from tests.buckets import registry_of, s3_buckets
from tests.service.conftest import put_stored, serving
from tests.service.sizes import ONE_PART
from tests.unit.ledger.looking import files_in, replicas_in

WITHOUT_PAUSE = 0.01  # seconds, before a listing asks again


@asynccontextmanager
async def opened(
    database: str, accounts: Sequence[StoreAccount], **changes: Any
) -> AsyncIterator[tuple[ReadingThreads, list[S3Bucket]]]:
    """Threads on the ledger, and the accounts' buckets."""
    threads = ReadingThreads(database, count=1)
    try:
        async with s3_buckets(*accounts, pause_seconds=WITHOUT_PAUSE, **changes) as buckets:
            yield threads, buckets
    finally:
        await threads.close()


async def upload(database: str, *accounts: StoreAccount, keys: Iterable[str] = ("k",), size: int = ONE_PART) -> None:
    """By a service that ends afterwards."""
    async with serving(*accounts, database=database) as service:
        for key in keys:
            await put_stored(service, size, key)


async def verify(database: str, *accounts: StoreAccount, only: str | None = None, **plan: Any) -> Findings:
    """Of the replicas only; in one account, as with `--account`."""
    findings = Findings({account.name: AccountFindings() for account in accounts if only in (None, account.name)})
    async with opened(database, accounts) as (threads, buckets):
        parts = Replicas(threads, database), Verification(threads, database)
        await Verify(*parts, registry_of(buckets), Plan(**plan), findings).run()
    return findings


async def look_around(
    database: str, *accounts: StoreAccount, changes: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> Findings:
    """For orphans only. `changes`: of the accounts' JSON."""
    findings = Findings({account.name: AccountFindings() for account in accounts})
    async with opened(database, accounts, **changes) as (threads, buckets):
        parts = KnownObjects(threads, database), Installations(threads, database)
        orphans = Orphans(*parts, registry_of(buckets), findings, **options)
        await orphans.check()
        await orphans.run()
    return findings


def problems_of(findings: Findings) -> list[tuple[str, str, str, str]]:
    """Account, key, code, and what became of it."""
    return sorted((p.account, p.key, p.code, p.became) for p in findings.problems)


async def states_of(database: str, key: str = "k") -> dict[str, tuple[str, str | None]]:
    """State and error code by account; and the file's own as `file`."""
    replicas = await replicas_in(database, key)
    states: dict[str, tuple[str, str | None]] = {name: (row.state, row.error_code) for name, row in replicas.items()}
    return {"file": ((await files_in(database))[key].state, None), **states}

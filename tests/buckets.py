"""Real buckets, made like the service makes them: from the accounts' JSON, with the service's own S3 client."""

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from file.logic.accounts.registry import Registry
from file.logic.ports import StorageAccount
from file.logic.values import Account
from file.s3.bucket import S3Bucket
from file.s3.client import BRIEF_SECONDS, Network, S3Client
from mentumfileupload.config.accounts import read_accounts
from testkit.account import StoreAccount

NewBucket = Callable[..., StoreAccount]  # the fixture `new_bucket`
# How requests with small bodies are sent: over our own connections, or by the HTTP client as through a proxy.
WAYS = {"own connections": Network(), "HTTP client": Network(own_connections=False)}


def account_of(store: StoreAccount, **changes: Any) -> Account:
    """The store's account as the service reads it; `changes` are keys of its JSON."""
    [(variable, text)] = store.environment().items()
    (account,), faults = read_accounts({variable: json.dumps(json.loads(text) | changes)}, str)
    assert not faults
    return account


def registry_of(storages: Iterable[StorageAccount]) -> Registry:
    """A registry in which these are connected."""
    connected = list(storages)
    registry = Registry(storage.account for storage in connected)
    for storage in connected:
        registry.use(storage)
    return registry


@asynccontextmanager
async def s3_buckets(
    *stores: StoreAccount,
    network: Network | None = None,
    reads: int = 64,
    stall_seconds: float = 30.0,
    pause_seconds: float = 0.5,
    brief_seconds: float = BRIEF_SECONDS,
    **changes: Any,
) -> AsyncIterator[list[S3Bucket]]:
    """A bucket per account, open until the block ends."""
    async with AsyncExitStack() as stack:
        buckets = []
        for store in stores:
            client = S3Client(account_of(store, **changes), network or Network(), brief_seconds=brief_seconds)
            stack.push_async_callback(client.close)
            buckets.append(
                S3Bucket(client, requests=64, reads=reads, stall_seconds=stall_seconds, pause_seconds=pause_seconds)
            )
        yield buckets

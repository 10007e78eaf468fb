"""Connects the accounts of the settings by S3, each with its own client and connections."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from file.logic.values import Account
from file.s3.bucket import S3Bucket
from file.s3.client import Network, S3Client
from file.service.settings import UploadSettings


def s3_connector(settings: UploadSettings) -> Callable[[Account], AbstractAsyncContextManager[S3Bucket]]:
    """A function that gives an account's bucket for as long as the `async with` block runs."""
    ca_pem = Path(settings.ca_file).read_bytes() if settings.ca_file else None
    network = Network(https_proxy=settings.https_proxy, no_proxy=settings.no_proxy, ca_pem=ca_pem)
    requests, limits = settings.account_requests, settings.limits

    @asynccontextmanager
    async def connect(account: Account) -> AsyncIterator[S3Bucket]:
        client = S3Client(account, network)
        try:
            yield S3Bucket(client, requests=requests, reads=limits.readers, stall_seconds=limits.stall_seconds)
        finally:
            await client.close()

    return connect

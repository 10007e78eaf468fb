"""A service process with one account and two tokens: clients affect each other."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from testkit.serviceprocess import TOKEN, ServiceProcess
from tests.unit.api.rawhttp import head
from tests.unit.s3.carelessstore import CarelessStore

OTHER = "the-other-token-of-the-tests"
TWO_TOKENS = json.dumps({"tests": TOKEN, "other": OTHER})


@asynccontextmanager
async def serving(
    folder: Path, *, command: Sequence[str] = ("manage.py",), **environment: str
) -> AsyncIterator[ServiceProcess]:
    """Its account refuses keys with `refused`, and reads of keys with `unreadable`."""

    def denies(operation: str, asked: str) -> bool:
        return "/refused" in asked or (operation == "get" and "/unreadable" in asked)

    account = {"access_key_id": "id", "secret_access_key": "secret", "region_name": "eu-central-1", "allow_http": True}
    async with CarelessStore(denies=denies).running() as store:
        account |= {"s3_bucket_name": "bucket-a", "endpoint_url": store.url, "conditional_writes": False}
        settings = {"UPLOAD_TOKENS": TWO_TOKENS, "UPLOAD_VERIFY_SAMPLE": "0", "AWS_ACCOUNT_A": json.dumps(account)}
        service = ServiceProcess(folder, (), {**settings, **environment}, command=command)
        try:
            await asyncio.to_thread(service.start)
            yield service
        finally:
            await asyncio.to_thread(service.kill)


def of_other(asked: bytes) -> bytes:
    """With another token than `head` has."""
    return asked.replace(TOKEN.encode(), OTHER.encode())


def put(key: str, size: int, *fields: str) -> bytes:
    """The head of an upload."""
    return head("PUT", f"/files/{key}", f"content-length: {size}", *fields)

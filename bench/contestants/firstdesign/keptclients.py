"""The fair improvement: one open boto3 client per account, and threads.

boto3 gets a large file as the temporary file of Django, so that it is sent in parts and not read whole.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

from bench.contestants.firstdesign.accounts import ACCOUNTS, Account, new_client

_AT_ONCE = 64


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=_AT_ONCE * len(ACCOUNTS))


@cache
def _clients() -> list[tuple[Account, Any]]:
    return [(account, new_client(account, connections=_AT_ONCE)) for account in ACCOUNTS]


def store(file: "UploadedFile[Any]", key: str) -> list[str]:
    """What went wrong."""
    content = b"" if isinstance(file, TemporaryUploadedFile) else file.read()
    waiting = [_threads().submit(_put, client, account, key, file, content) for account, client in _clients()]
    return [error for each in waiting if (error := each.result())]


def _put(client: Any, account: Account, key: str, file: "UploadedFile[Any]", content: bytes) -> str | None:
    bucket = account["s3_bucket_name"]
    try:
        if isinstance(file, TemporaryUploadedFile):
            client.upload_file(file.temporary_file_path(), bucket, key)
        else:
            client.put_object(Bucket=bucket, Key=key, Body=content)
    except Exception as error:  # noqa: BLE001 - one account's trouble is told, whatever it is
        return str(error)
    return None

"""The original way: a pool of processes, and in each process a new boto3 session per request and account.

The pool is kept between requests; one pool per request would be even slower.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

from django.core.files.uploadedfile import UploadedFile

from bench.contestants.firstdesign.accounts import ACCOUNTS, Account, new_client


@cache
def _pool() -> ProcessPoolExecutor:
    # Not "fork", because the server has threads.
    return ProcessPoolExecutor(max_workers=len(ACCOUNTS), mp_context=multiprocessing.get_context("spawn"))


def store(file: "UploadedFile[Any]", key: str) -> list[str]:
    """What went wrong."""
    content = file.read()
    waiting = [_pool().submit(_put, account, key, content) for account in ACCOUNTS]
    return [error for each in waiting if (error := each.result())]


def _put(account: Account, key: str, content: bytes) -> str | None:
    try:
        new_client(account).put_object(Bucket=account["s3_bucket_name"], Key=key, Body=content)
    except Exception as error:  # noqa: BLE001 - one account's trouble is told, whatever it is
        return str(error)
    return None

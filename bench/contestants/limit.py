"""The upper limit: the load generator sends directly to one account over open connections; and SHA-256 alone."""

import hashlib
import time
from urllib.parse import urlsplit

from bench.contestants.contestant import Client, new_prefix
from bench.figures import Load, MiB, Work
from bench.native_tools import build, run_load
from testkit.account import StoreAccount


class Raw(Client):
    """Unsigned uploads to one null S3."""

    name = "raw, 1 account"

    def __init__(self, account: StoreAccount) -> None:
        self._account = account

    def upload(self, work: Work) -> Load:
        port = urlsplit(self._account.endpoint_url).port
        assert port is not None
        return run_load(build("load"), port, f"/{self._account.s3_bucket_name}/{new_prefix()}", work)


def sha256_mb_per_second(seconds: float = 0.5) -> float:
    """The speed of one core, with the same library as the service."""
    block, done, began = bytes(8 * MiB), 0, time.perf_counter()
    while (taken := time.perf_counter() - began) < seconds:
        hashlib.sha256(block).digest()
        done += len(block)
    return done / taken / 1e6

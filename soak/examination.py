"""Examines the accounts at the end, and asks the service about uploads without an answer.

The accounts are asked with boto3, without the fault proxies. Every byte of every acknowledged file is read and hashed.
"""

import hashlib
import json
import queue
import re
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped,unused-ignore]

from soak.oracle import LOST, Finding, Held, Record, number_in
from testkit.account import StoreAccount
from testkit.serviceprocess import HTTP

T = TypeVar("T")

_READERS = 6
_PAGE = 1000
_SECONDS = 30
_ATTEMPTS, _AGAIN_SECONDS = 5, 1.0
_PIECE = 1024 * 1024
_UNFINISHED = re.compile(r'^mentum_replicas\{account="(\w+)",state="(\w+)"\} (\S+)$', re.MULTILINE)


def patiently(call: Callable[[], T]) -> T:
    """Repeats a request some times, because a busy machine is not a finding."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return call()
        except (ClientError, BotoCoreError, OSError):
            time.sleep(_AGAIN_SECONDS)
    return call()


def list_account(account: StoreAccount) -> list[Held]:
    """Every version, delete marker and open multipart upload."""
    return patiently(lambda: _list_account(account))


def _list_account(account: StoreAccount) -> list[Held]:
    client, bucket = account.boto3(read_timeout_seconds=_SECONDS), account.s3_bucket_name
    held = []
    for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
        held += [Held(each["Key"], each["VersionId"], each["Size"]) for each in page.get("Versions", [])]
        held += [Held(each["Key"], each["VersionId"], None) for each in page.get("DeleteMarkers", [])]
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        held += [Held(each["Key"], each["UploadId"], None, upload=True) for each in page.get("Uploads", [])]
    return held


def read_all(
    accounts: Mapping[str, StoreAccount],
    expected: Sequence[tuple[str, Record, Held]],
    told: Callable[[int], object],
) -> list[Finding]:
    """Reads every object and compares size and SHA-256. Several threads call `told` with the number read so far."""
    work: queue.SimpleQueue[tuple[str, Record, Held]] = queue.SimpleQueue()
    for entry in expected:
        work.put(entry)
    findings: list[Finding] = []
    counting = threading.Lock()
    done = 0

    def read_some() -> None:
        nonlocal done
        clients = {name: account.boto3(read_timeout_seconds=_SECONDS) for name, account in accounts.items()}
        while True:
            try:
                name, record, version = work.get_nowait()
            except queue.Empty:
                return
            wrong = _wrong(clients[name], accounts[name].s3_bucket_name, record, version)
            with counting:
                done += 1
                if wrong:
                    findings.append(Finding(LOST, f"{record.name} {wrong}", name, record.number))
                told(done)

    with ThreadPoolExecutor(_READERS) as readers:
        for reader in [readers.submit(read_some) for _ in range(_READERS)]:
            reader.result()
    return findings


def _wrong(client: Any, bucket: str, record: Record, held: Held) -> str:
    """The difference between the object and the bytes that were sent; empty if there is none."""
    version = {} if held.version == "null" else {"VersionId": held.version}

    def read() -> tuple[int, str]:
        sha256, size = hashlib.sha256(), 0
        for piece in client.get_object(Bucket=bucket, Key=held.key, **version)["Body"].iter_chunks(_PIECE):
            sha256.update(piece)
            size += len(piece)
        return size, sha256.hexdigest()

    try:
        size, digest = patiently(read)
    except (ClientError, BotoCoreError, OSError) as error:
        return f"is listed, and cannot be read: {error}"
    if (size, digest) != (record.size, record.sha256):
        return f"has {size:,} bytes with SHA-256 {digest}, not {record.size:,} with {record.sha256}"
    return ""


class Asking:
    """What an operator asks the service."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token

    def unfinished(self) -> Counter[tuple[str, str]]:
        """The number of unfinished replicas, by account and state. The service reads it every ten seconds."""
        text = self._get("/_/metrics").decode()
        return Counter({(name, state): int(float(count)) for name, state, count in _UNFINISHED.findall(text)})

    def deletes(self) -> bool:
        """Whether the service knows DELETE: then it answers 404 for a missing file, not 405."""
        status, _ = self._ask("DELETE", "/files/soak-nothing")
        return status == 404

    def acknowledged(self) -> dict[int, str]:
        """The key of each file that the service lists, by number."""
        found: dict[int, str] = {}
        for file in self.files():
            number = number_in(file["key"])
            if number is not None:
                found[number] = file["key"]
        return found

    def files(self) -> Iterator[dict[str, Any]]:
        """All files that `GET /files` lists."""
        after: str | None = ""
        while after is not None:
            page = json.loads(self._get(f"/files?limit={_PAGE}&after={quote(after, safe='')}"))
            yield from page["files"]
            after = page["next"]

    def receipt(self, file_id: str) -> dict[str, Any] | None:
        """None if the service does not know the file."""
        status, body = self._ask("GET", f"/receipts/{file_id}")
        receipt: dict[str, Any] | None = json.loads(body) if status == 200 else None
        return receipt

    def has(self, key: str) -> bool:
        """Whether GET knows the file."""
        return self._ask("HEAD", f"/files/{quote(key)}")[0] != 404

    def _get(self, path: str) -> bytes:
        def get() -> bytes:
            status, body = self.ask_once("GET", path)
            if status != 200:
                raise ConnectionError(f"GET {path} was answered {status}")
            return body

        return patiently(get)

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        return patiently(lambda: self.ask_once(method, path))

    def ask_once(self, method: str, path: str, content: bytes | None = None) -> tuple[int, bytes]:
        """Status and body. Raises OSError if there is no answer."""
        request = urllib.request.Request(self._url + path, content, method=method)  # noqa: S310 - a service of our own
        request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with HTTP.open(request, timeout=_SECONDS) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

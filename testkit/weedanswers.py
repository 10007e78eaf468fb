"""What a `weed` process answers: whether it is up, takes bodies, knows an account's keys; and its folders.

Nothing tells when a state is in force but the answer itself: these are asked again and again.
"""

import functools
import json
import secrets
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped,unused-ignore]

from testkit.account import StoreAccount
from testkit.errors import StoreError
from testkit.ports import HOST


def is_healthy(port: int) -> bool:
    """S3 answers."""
    return _get(port, "/healthz") is not None


def has_volumes(port: int) -> bool:
    """S3 answers before the part that holds the bodies is known; for a second or two every GET is a 500 then."""
    topology = _get(port + 1, "/dir/status")
    return topology is not None and f'"{HOST}:{port + 2}"'.encode() in topology


def takes_bodies(account: StoreAccount) -> bool:
    """The first write into a bucket, or after a kill, may fail or wait for ten seconds, long after questions are
    answered: let it be ours.
    """
    client = account.boto3(read_timeout_seconds=20)
    place = {"Bucket": account.s3_bucket_name, "Key": f".ready-{secrets.token_hex(8)}"}
    try:
        stored = client.put_object(**place, Body=b"ready")
        client.delete_object(**place, **({"VersionId": stored["VersionId"]} if "VersionId" in stored else {}))
    except (ClientError, BotoCoreError):
        return False
    return True


def answer_to(account: StoreAccount) -> int:
    """The status with which the server answers a look into the account's bucket; 0 for none."""
    try:
        _looking(account).list_objects_v2(Bucket=account.s3_bucket_name, MaxKeys=1)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    except BotoCoreError:
        return 0
    return 200


def empty_bucket(port: int, bucket: str) -> None:
    """Objects, versions, open uploads, and the folders that keys with a slash leave. Raises `StoreError`."""
    while entries := json.loads(_ask_filer(port, "GET", f"/buckets/{bucket}/?limit=1000"))["Entries"]:
        for entry in entries:
            _ask_filer(port, "DELETE", f"{quote(entry['FullPath'])}?recursive=true")


def _get(port: int, path: str) -> bytes | None:
    """The body of a 200, or None."""
    connection = HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == 200 else None
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


def _ask_filer(port: int, method: str, path: str) -> bytes:
    connection = HTTPConnection(HOST, port + 3, timeout=10)
    try:
        connection.request(method, path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status not in (200, 204):
        raise StoreError(f"The server's folders answer {answer.status} to {method} {path}.")
    return body


@functools.lru_cache(maxsize=64)
def _looking(account: StoreAccount) -> Any:
    """The client that asks again and again: making one costs more than asking."""
    return account.boto3(read_timeout_seconds=2)

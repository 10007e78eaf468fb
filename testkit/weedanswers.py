"""Questions to a `weed` process: whether it runs, stores bodies, knows an account's keys; and its folders.

Only an answer shows that a state is in force, so these are asked repeatedly.
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
    """Whether S3 answers."""
    return _get(port, "/healthz") is not None


def has_volumes(port: int) -> bool:
    """Whether bodies can be read: S3 answers earlier, and then every GET is a 500 for a second or two."""
    topology = _get(port + 1, "/dir/status")
    return topology is not None and f'"{HOST}:{port + 2}"'.encode() in topology


def takes_bodies(account: StoreAccount) -> bool:
    """Whether a write succeeds: the first one into a bucket, or after a kill, may fail or take ten seconds, long after
    reads are answered.
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
    """The status of a request for the account's bucket; 0 for no answer."""
    try:
        _looking(account).list_objects_v2(Bucket=account.s3_bucket_name, MaxKeys=1)
    except ClientError as error:
        return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
    except BotoCoreError:
        return 0
    return 200


def empty_bucket(port: int, bucket: str) -> None:
    """Removes objects, versions, open uploads, and the folders of keys with a slash. Raises `StoreError`."""
    while entries := json.loads(_ask_filer(port, "GET", f"/buckets/{bucket}/?limit=1000"))["Entries"]:
        for entry in entries:
            _ask_filer(port, "DELETE", f"{quote(entry['FullPath'])}?recursive=true")


def _get(port: int, path: str) -> bytes | None:
    """The body of a 200 answer, or None."""
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
    """The client for repeated requests; it is kept, because creating one takes longer than a request."""
    return account.boto3(read_timeout_seconds=2)

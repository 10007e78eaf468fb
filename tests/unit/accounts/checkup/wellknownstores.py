"""What well-known stores refuse, from their documentation, reports of users, or our own tests.

Each is a `refuses` of a `CarelessStore`. No two of them lack the same.
"""

import base64
import hashlib
import re

from awscrt.checksums import crc64nvme

from file.logic.values import checksum_text
from tests.unit.s3.carelessstore import CarelessStore, Request, no_body

_WRITES = ("put", "part", "complete")


def error(status: str, code: str, message: str = "") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


def damaged(store: CarelessStore, request: Request) -> bytes | None:
    """Refuses a body that does not have its digest."""
    body = store.parts[request.upload] if request.operation == "complete" else request.body
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    found = {"x-amz-checksum-crc64nvme": checksum_text(crc64nvme(body)), "content-md5": md5}
    told = re.search(r"(x-amz-checksum-crc64nvme|content-md5): (\S+)", request.head)
    if request.operation in _WRITES and told and told[2] != found[told[1]].lower():
        return error("400 Bad Request", "BadDigest")
    return None


def occupied(store: CarelessStore, request: Request, *operations: str) -> bytes | None:
    key = store.uploads[request.upload] if request.operation == "complete" else request.key
    if request.operation in operations and "if-none-match" in request.head and key in store.objects:
        return error("412 Precondition Failed", "PreconditionFailed")
    return None


def backblaze_b2(store: CarelessStore, request: Request) -> bytes | None:
    if named := re.search(r"x-amz-checksum-[a-z0-9]+", request.head):
        if request.operation == "head":
            return no_body("400 Bad Request")
        words = f"Unsupported header '{named[0]}' received for this API call."
        return error("400 Bad Request", "InvalidArgument", words)
    if "if-none-match" in request.head or "if-match" in request.head:
        words = "A header you provided implies functionality that is not implemented."
        return error("501 Not Implemented", "NotImplemented", words)
    return damaged(store, request)


def google_cloud_storage(store: CarelessStore, request: Request) -> bytes | None:
    """It ignores If-None-Match."""
    if re.search(r"x-amz-checksum-(?!mode)", request.head):
        words = "Multiple HTTP header values where one was expected."
        return error("400 Bad Request", "ExcessHeaderValues", words)
    return damaged(store, request)


def cloudflare_r2(store: CarelessStore, request: Request) -> bytes | None:
    """It gives every put an id, and knows no versions; on a complete it ignores the condition."""
    if request.operation == "list_versions":
        return error("501 Not Implemented", "NotImplemented", "ListObjectVersions not implemented")
    if "versionid=" in request.head:
        return no_body("501 Not Implemented")
    return occupied(store, request, "put") or damaged(store, request)


def garage(store: CarelessStore, request: Request) -> bytes | None:
    """It gives every put an id, too, and takes no notice of one that is named."""
    if request.operation == "list_versions":
        return error("501 Not Implemented", "NotImplemented", "Not implemented: ListObjectVersions")
    return occupied(store, request, *_WRITES) or damaged(store, request)


def ministack(store: CarelessStore, request: Request) -> bytes | None:
    """Tried, 1.5.33: it has another checksum of a whole object of parts."""
    if request.operation == "complete" and "x-amz-checksum-crc64nvme" in request.head:
        return occupied(store, request, "complete") or error("400 Bad Request", "BadDigest")
    return occupied(store, request, "put", "complete") or damaged(store, request)


def moto(store: CarelessStore, request: Request) -> bytes | None:
    """Tried, 5.2.5, on a bucket without versions: it refuses the version `null`. (It also checks no digest.)"""
    if "versionid=null" in request.head:
        return no_body("400 Bad Request")
    return occupied(store, request, "put", "complete") or damaged(store, request)


def s3rver(store: CarelessStore, request: Request) -> bytes | None:
    """Tried, 3.7.1."""
    if request.operation in ("list_versions", "list_parts", "abort"):
        return error("405 Method Not Allowed", "MethodNotAllowed")
    if request.operation == "list_uploads":
        return error("501 Not Implemented", "NotImplemented")
    return occupied(store, request, *_WRITES) or damaged(store, request)


def gateway_without_words(store: CarelessStore, request: Request) -> bytes | None:
    """It says with the status only that it does not know a header."""
    if request.operation in ("put", "complete") and "if-none-match" in request.head:
        return no_body("501 Not Implemented")
    return damaged(store, request)


ID_OF_A_PUT = ("x-amz-version-id: 7e6d8e5f0b",)

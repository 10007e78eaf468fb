"""The requests to an account as values: one function per S3 operation. Pure.

The service and the check-up (`accounts --check`) build their requests here, so that the check-up tests exactly what the
service does. Every object gets the metadata, the encryption, and the storage class of its account's settings. Bodies
are sent with a CRC64NVME (or Content-MD5, for stores without checksums), so that S3 refuses a damaged one.
Leaves to others: sending (`client.py`), listings (`listing.py`), and what an answer means.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from file.logic.values import Account, Body, Digests, ObjectDescription, Part, Stored, checksum_text
from file.s3.fields import METADATA
from file.s3.xml import complete_request

CHECKSUM = "x-amz-checksum-crc64nvme"
_ALGORITHM = {"x-amz-checksum-algorithm": "CRC64NVME"}
_OF_THE_WHOLE = {"x-amz-checksum-type": "FULL_OBJECT"}
SentPart = tuple[int, str, str | None]  # number, ETag, and CRC64NVME of a part, for a complete


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `key` None means the bucket; statuses in `tolerate` are answers, not errors."""

    operation: str
    method: str
    key: str | None
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = field(default=b"", repr=False)
    tolerate: Sequence[int] = ()

    @property
    def wants(self) -> str | None:
        """The account's option because of which a HEAD requests more than the object."""
        if self.method != "HEAD":
            return None
        if any(name == "versionId" for name, _ in self.query):
            return "versions"
        return "checksums" if "x-amz-checksum-mode" in self.headers else None

    def accepts(self, status: int) -> bool:
        return 200 <= status < 300 or status in self.tolerate


def put(account: Account, key: str, description: ObjectDescription, part: Part) -> Call:
    """PutObject: the whole file in one request. Overwrites nothing if the store supports conditions."""
    headers = {**_object_headers(account, description), **_integrity(account, part), **_condition(account)}
    return Call("put", "PUT", key, headers=headers, body=part.body)


def begin(account: Account, key: str, description: ObjectDescription) -> Call:
    """CreateMultipartUpload, with one checksum of the whole object."""
    headers = _object_headers(account, description)
    if account.checksums:
        headers |= _ALGORITHM | _OF_THE_WHOLE
    return Call("begin", "POST", key, query=[("uploads", "")], headers=headers)


def send(account: Account, key: str, upload_id: str, part: Part) -> Call:
    """UploadPart."""
    query = [("partNumber", str(part.number)), ("uploadId", upload_id)]
    return Call("part", "PUT", key, query=query, headers=_integrity(account, part), body=part.body)


def complete(account: Account, key: str, upload_id: str, parts: Sequence[SentPart], whole: Digests) -> Call:
    """CompleteMultipartUpload, with size and checksum of the whole object."""
    headers = {"content-type": "application/xml", **_condition(account)}
    if account.checksums:
        headers |= {CHECKSUM: checksum_text(whole.crc64nvme), **_OF_THE_WHOLE, "x-amz-mp-object-size": str(whole.size)}
    query = [("uploadId", upload_id)]
    return Call("complete", "POST", key, query=query, headers=headers, body=complete_request(parts))


def get(account: Account, stored: Stored, start: int, stop: int, size: int) -> Call:
    """GetObject: these bytes of the stored object, if it exists. For no bytes HEAD, because ranges cannot be empty."""
    headers = {"if-match": f'"{bare_etag(stored.etag)}"'} if stored.etag else {}
    if 0 < stop - start < size:
        headers["range"] = f"bytes={start}-{stop - 1}"
    query = _version(stored.version_id if account.versions else None)
    return Call("get", "GET" if start < stop else "HEAD", stored.object_key, query=query, headers=headers)


def abort(key: str, upload_id: str) -> Call:
    """AbortMultipartUpload. 404: it is gone."""
    return Call("abort", "DELETE", key, query=[("uploadId", upload_id)], tolerate=(404,))


def list_parts(key: str, upload_id: str, tolerate: Sequence[int] = (404,)) -> Call:
    """ListParts, the first one only. 404: the upload is gone."""
    return Call("list_parts", "GET", key, query=[("max-parts", "1"), ("uploadId", upload_id)], tolerate=tolerate)


def head(key: str, *, version_id: str | None = None, checksum: bool = False, tolerate: Sequence[int] = (404,)) -> Call:
    """HeadObject, of a version or of the current object; with `checksum` it requests the CRC64NVME."""
    headers = {"x-amz-checksum-mode": "ENABLED"} if checksum else {}
    return Call("head", "HEAD", key, query=_version(version_id), headers=headers, tolerate=tolerate)


def delete(key: str, version_id: str | None = None, *, etag: str | None = None) -> Call:
    """DeleteObject, of a version or of the object under the key; with `etag` only that one. 404: it is gone."""
    headers = {} if etag is None else {"if-match": etag}
    return Call("delete", "DELETE", key, query=_version(version_id), headers=headers, tolerate=(404,))


def probe(prefix: str | None = None) -> Call:
    """A cheap request: may these credentials list this bucket?"""
    query = [("list-type", "2"), ("max-keys", "1")]
    return Call("probe", "GET", None, query=query if prefix is None else [*query, ("prefix", prefix)])


def bare_etag(etag: str) -> str:
    """Without quotes, because some stores omit them in some answers."""
    return etag.removeprefix('"').removesuffix('"')


def _version(version_id: str | None) -> list[tuple[str, str]]:
    return [] if version_id is None else [("versionId", version_id)]


def _object_headers(account: Account, description: ObjectDescription) -> dict[str, str]:
    options = (
        ("x-amz-server-side-encryption", account.server_side_encryption),
        ("x-amz-server-side-encryption-aws-kms-key-id", account.kms_key_id),
        ("x-amz-storage-class", account.storage_class),
    )
    return _shared_headers(description) | {name: value for name, value in options if value is not None}


@lru_cache(64)
def _shared_headers(description: ObjectDescription) -> dict[str, str]:
    """Cached, because they are the same for every account."""
    metadata = {f"{METADATA}{name.lower()}": value for name, value in description.metadata.items()}
    return {"content-type": description.content_type, **description.content_headers, **metadata}


def _integrity(account: Account, part: Part) -> dict[str, str]:
    if account.checksums:
        return {CHECKSUM: checksum_text(part.crc64nvme)}
    md5 = hashlib.md5(part.body, usedforsecurity=False).digest()
    return {"content-md5": base64.b64encode(md5).decode()}


def _condition(account: Account) -> dict[str, str]:
    return {"if-none-match": "*"} if account.conditional_writes else {}

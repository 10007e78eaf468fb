"""The S3 operation of an HTTP request, derived from its method and its target.

Only path addressing: /bucket/key. An operation that the service does not use is `other`, so that a fault for every
operation also meets it.
"""

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

OPERATIONS = (
    "put",
    "begin",
    "part",
    "complete",
    "abort",
    "head",
    "get",
    "delete",
    "list",
    "list_versions",
    "list_uploads",
    "list_parts",
    "head_bucket",
    "other",
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One S3 call. `name`: one of OPERATIONS; `key`: decoded."""

    name: str
    bucket: str
    key: str
    part_number: int | None = None


def recognise(method: str, target: str) -> Operation:
    """The operation of a request line."""
    path, _, query = target.partition("?")
    bucket, _, encoded_key = path.removeprefix("/").partition("/")
    key = unquote(encoded_key, errors="surrogateescape")
    asked = parse_qs(query, keep_blank_values=True)
    # Presigned requests have their signature in the query, SDKs the name of the call: both are ignored.
    subresource = {name for name in asked if not name.lower().startswith("x-amz-") and name != "x-id"}
    part_number = asked.get("partNumber", [""])[0]
    name = _object_operation(method, subresource) if key else _bucket_operation(method, subresource)
    return Operation(name, bucket, key, int(part_number) if part_number.isdecimal() else None)


def _object_operation(method: str, subresource: set[str]) -> str:
    upload = "uploadId" in subresource
    match method:
        case "PUT" if upload and "partNumber" in subresource:
            return "part"
        case "PUT" if not subresource:
            return "put"
        case "POST" if upload:
            return "complete"
        case "POST" if "uploads" in subresource:
            return "begin"
        case "DELETE" if upload:
            return "abort"
        case "DELETE" if subresource <= {"versionId"}:
            return "delete"
        case "HEAD":
            return "head"
        case "GET" if upload:
            return "list_parts"
        case "GET" if subresource <= {"versionId", "partNumber"} or all(
            name.startswith("response-") for name in subresource
        ):
            return "get"
    return "other"


def _bucket_operation(method: str, subresource: set[str]) -> str:
    match method:
        case "HEAD":
            return "head_bucket"
        case "GET" if "versions" in subresource:
            return "list_versions"
        case "GET" if "uploads" in subresource:
            return "list_uploads"
        case "GET" if "list-type" in subresource or not subresource or "prefix" in subresource:
            return "list"
    return "other"

"""The values that an account's JSON may have: the rules that can be checked without asking S3.

Promises: a rule refuses only values with which no request can succeed, or which lead to another place than intended; a
reason never shows the value. Leaves to `accounts.py`: JSON, types, the names of keys and variables.
"""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from file.logic.accounts.endpoints import bucket_in_endpoint, is_accelerated, is_ip_address, is_of_metadata, is_on_aws
from file.logic.values import MAX_KEY_BYTES, Account

# Half of the longest key that S3 takes: the other half is left for the key behind the prefix.
MAX_PREFIX_BYTES = MAX_KEY_BYTES // 2

_HEADER_TEXT = r"[!-~]+"
_VISIBLE = "may only have printable ASCII characters, without spaces"
_RULES = {
    "access_key_id": (r"[!-+\-.0-~]+", f"{_VISIBLE}, commas and slashes"),
    "secret_access_key": (_HEADER_TEXT, _VISIBLE),
    "session_token": (_HEADER_TEXT, _VISIBLE),
    "region_name": (
        r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?",
        "is not the name of a region; an example is eu-central-1",
    ),
    "expected_bucket_owner": (r"[0-9]{12}", "must be the id of an AWS account: 12 digits"),
    "server_side_encryption": (r"AES256|aws:kms|aws:kms:dsse", "must be AES256, aws:kms or aws:kms:dsse"),
    "kms_key_id": (_HEADER_TEXT, _VISIBLE),
    "storage_class": (r"[A-Z][A-Z0-9_]{0,63}", "is not a storage class; an example is STANDARD_IA"),
    "addressing": (r"virtual|path", "must be virtual or path"),
}

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html; directory buckets (--x-s3), access
# points and Multi-Region Access Points need other requests than general purpose buckets.
_AWS_BUCKET = re.compile(r"[a-z0-9](?:[a-z0-9.-]{1,61})[a-z0-9]")
_AWS_RESERVED_BUCKET = re.compile(r"(?:xn--|sthree-).*|.*(?:-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9.])?")
_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]*)*")
_OTHER_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def rule_faults(account: Account) -> Iterator[tuple[str, str]]:
    """Key and reason of each value in `account` that cannot work."""
    for key, (pattern, rule) in _RULES.items():
        value = getattr(account, key)
        if value is not None and not re.fullmatch(pattern, value, re.ASCII):
            yield key, rule
    if not account.endpoint_url and account.region_name != account.region_name.lower():
        yield "region_name", "must be in lower case on AWS"
    if reason := _endpoint_fault(account):
        yield "endpoint_url", reason
        return
    if reason := bucket_in_endpoint(account):
        yield "endpoint_url", reason
        return
    if is_accelerated(account) and account.addressing == "path":
        yield "addressing", "cannot be path with S3 Transfer Acceleration, which needs the bucket in the host name"
    if not account.versions and is_on_aws(account):
        yield "versions", "cannot be false on AWS, where each bucket may have versions"
    if reason := _bucket_fault(account):
        yield "s3_bucket_name", reason
    if reason := _prefix_fault(account.prefix):
        yield "prefix", reason
    if account.kms_key_id is not None and account.server_side_encryption not in {"aws:kms", "aws:kms:dsse"}:
        yield "kms_key_id", "needs the key 'server_side_encryption' to be aws:kms or aws:kms:dsse"


def _endpoint_fault(account: Account) -> str | None:
    text = account.endpoint_url
    if text is None:
        return None
    if not re.fullmatch(r"[!-~]+", text) or "\\" in text:
        return "is not a URL: it has spaces or other characters that a URL cannot have"
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return "is not a URL: its host or its port cannot be read"
    if url.scheme not in {"http", "https"}:
        return 'must begin with https:// (or http://, with "allow_http": true)'
    if "@" in url.netloc:
        return "may not have a user name or a password"
    if port == 0 or not _is_host(url.hostname or ""):
        return "has no host, or a host or port that cannot exist"
    if is_of_metadata(url.hostname or ""):
        return "is a link-local address or the metadata service of a cloud: no S3 store is there"
    if "?" in text or "#" in text:
        return "may not have a query or a fragment"
    if not _PATH.fullmatch(url.path):
        return "has a path with characters or segments that change on the way to the server"
    if url.scheme == "http" and not account.allow_http:
        return 'is http://, which is not encrypted; write "allow_http": true to allow it'
    return None


def _bucket_fault(account: Account) -> str | None:
    name = account.s3_bucket_name
    if is_accelerated(account) and "." in name:
        return "cannot have a dot with S3 Transfer Acceleration"
    if account.endpoint_url and not is_accelerated(account):
        if _OTHER_BUCKET.fullmatch(name):
            return None
        return "is not the name of a bucket: it may have letters, digits, dots, dashes and underscores"
    if not _AWS_BUCKET.fullmatch(name) or ".." in name or is_ip_address(name):
        return "is not the name of a bucket on AWS: 3 to 63 lower-case letters, digits, dashes and single dots"
    if _AWS_RESERVED_BUCKET.fullmatch(name):
        return "is not the name of a general purpose bucket: AWS reserves its beginning or its end"
    return None


def _prefix_fault(prefix: str) -> str | None:
    try:
        size = len(prefix.encode())
    except UnicodeEncodeError:
        return "has half of a character (a lone surrogate)"
    if size > MAX_PREFIX_BYTES:
        return f"is longer than {MAX_PREFIX_BYTES} bytes"
    if prefix.startswith("/"):
        return "may not begin with a slash"
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in prefix):
        return "has a control character"
    if {".", ".."} & set(prefix.split("/")):
        return "has a segment . or .., which is removed on the way to the server"
    return None


def _is_host(text: str) -> bool:
    return bool(_HOST.fullmatch(text)) or (":" in text and "%" not in text and is_ip_address(text))

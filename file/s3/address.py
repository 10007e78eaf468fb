"""The address of an account's bucket: scheme, host and path.

The addresses are those of botocore, for every partition and region, without botocore at run time. On AWS the bucket is
part of the host (`virtual`), unless its name is not valid there or has a dot, which no wildcard certificate covers. At
an `endpoint_url` it is the first segment of the path (`path`), unless the account's JSON says otherwise, or the host is
that of S3 Transfer Acceleration, which finds the bucket only in the host.
Leaves to others: whether plain HTTP is allowed (accounts), and refusing keys with dot segments, which HTTP clients
collapse.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from file.logic.accounts.endpoints import is_accelerated
from file.logic.values import Account
from file.s3.sigv4 import encode_path

# Region -> what the names of its hosts end with; the first that matches counts. AWS's own rule for regions to come:
# the table `partitions.json` that all its SDKs share.
_PARTITIONS = tuple(
    (re.compile(regions, re.ASCII), suffix)
    for regions, suffix in (
        (r"cn-\w+-\d+", "amazonaws.com.cn"),
        (r"eusc-de-\w+-\d+", "amazonaws.eu"),
        (r"us-iso-\w+-\d+", "c2s.ic.gov"),
        (r"us-isob-\w+-\d+", "sc2s.sgov.gov"),
        (r"eu-isoe-\w+-\d+", "cloud.adc-e.uk"),
        (r"us-isof-\w+-\d+", "csp.hci.ic.gov"),
        (r".*", "amazonaws.com"),  # the commercial regions, GovCloud, and regions to come
    )
)

_HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{1,61})[a-z0-9]", re.ASCII)
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_HOST = re.compile(r"[a-z0-9._-]+", re.ASCII)
_BASE_PATH = re.compile(r"(?:/(?!\.\.?(?:/|$))[A-Za-z0-9._~-]*)*", re.ASCII)  # nothing that a proxy would rewrite
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """`host`: the Host header, as sent and signed. `root`: the encoded path before each key."""

    scheme: str
    host: str
    root: str

    def path(self, key: str | None = None) -> str:
        """The absolute, percent-encoded path of an object, or of the bucket itself."""
        if key is None:
            return self.root or "/"
        return f"{self.root}/{encode_path(key)}"

    def url(self, path: str, query: str = "") -> str:
        """The URL of what `path` and `encode_query` returned."""
        return f"{self.scheme}://{self.host}{target_of(path, query)}"


def target_of(path: str, query: str) -> str:
    """What stands in the first line of a request: what `Address.path` and `encode_query` returned."""
    return f"{path}?{query}" if query else path


def address_of(account: Account) -> Address:
    """Raises ValueError if there is no address. The error names the key in the JSON, never its value."""
    scheme, host, port, base_path = _endpoint(account)
    bucket = account.s3_bucket_name
    if account.addressing not in (None, "virtual", "path"):
        raise ValueError("addressing must be virtual or path")
    if not bucket or "/" in bucket:
        raise ValueError("s3_bucket_name is not the name of a bucket")
    wanted = account.addressing or ("path" if account.endpoint_url and not is_accelerated(account) else "virtual")
    if wanted == "virtual" and _can_be_in_host(bucket, scheme, host):
        return Address(scheme, f"{bucket}.{host}{port}", base_path)
    return Address(scheme, f"{host}{port}", f"{base_path}/{quote(bucket, safe='')}")


def _endpoint(account: Account) -> tuple[str, str, str, str]:
    """Scheme, host, `:port` unless it is the default one, and the path before the bucket."""
    if account.endpoint_url is None:
        return "https", _aws_host(account.region_name), "", ""
    try:
        parts = urlsplit(account.endpoint_url)
        port = parts.port
        host = parts.hostname or ""
        if ":" in host and "%" not in host:
            host = f"[{ipaddress.IPv6Address(host)}]"
        elif not _HOST.fullmatch(host):
            raise ValueError
    except ValueError:
        # `from None`: the text of urllib's error repeats the value.
        raise ValueError("endpoint_url is not an address") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise ValueError("endpoint_url must begin with https:// or http://")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("endpoint_url has no place for a query, a fragment or credentials")
    if not _BASE_PATH.fullmatch(parts.path):
        raise ValueError("endpoint_url has a path that cannot be used")
    is_default = port is None or port == _DEFAULT_PORTS[parts.scheme]
    return parts.scheme, host, "" if is_default else f":{port}", parts.path.rstrip("/")


def _aws_host(region: str) -> str:
    if not _REGION.fullmatch(region):
        raise ValueError("region_name is not the name of a region")
    if region == "us-east-1":
        return "s3.amazonaws.com"  # as botocore does: the region's first name, older than regions
    return next(f"s3.{region}.{suffix}" for pattern, suffix in _PARTITIONS if pattern.fullmatch(region))


def _can_be_in_host(bucket: str, scheme: str, host: str) -> bool:
    """Like botocore: not if TLS or DNS would always fail, also if `virtual` is configured."""
    if host.startswith("[") or re.fullmatch(r"[\d.]+", host):
        return False
    if scheme == "https":
        return _HOST_LABEL.fullmatch(bucket) is not None
    return 3 <= len(bucket) <= 63 and all(_REGION.fullmatch(label) for label in bucket.split("."))

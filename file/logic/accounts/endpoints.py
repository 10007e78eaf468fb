"""What the endpoint and region of an account show without a request: AWS or not, which bucket, and likely mistakes.

Promises: a bucket has one identity, however its address is written, so that two accounts cannot share it unnoticed; no
message shows the value. Leaves to others: whether `endpoint_url` is a valid URL (`accountrules.py`), and the address
for requests (`file/s3/address.py`).
"""

import difflib
import ipaddress
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

from file.logic.values import Account

# The domains of all partitions. An account without `endpoint_url` has `https://s3.amazonaws.com`.
_AWS_HOST = re.compile(
    r"(?:.*\.)?(?:amazonaws\.(?:com|com\.cn|eu)|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
)
_ACCELERATED = re.compile(r"(?:.*\.)?s3-accelerate(?:\.dualstack)?\.amazonaws\.com")
_PARTITIONS = ("cn-", "us-gov-", "us-iso-", "us-isob-", "us-isof-", "eu-isoe-", "eusc-")
# The first label of the host of a VPC endpoint is this word, for every bucket.
_VPC_ENDPOINT = re.compile(r"bucket\.vpce-")

_DIRECTIONS = "central|(?:north|south)(?:east|west)?|east|west"
_POSSIBLE_REGION = re.compile(rf"[a-z]{{2,4}}(?:-[a-z]{{2,4}})?-(?:{_DIRECTIONS})-[1-9][0-9]?", re.ASCII)
# Only for suggestions: a region that is not in this list is not a mistake.
_REGIONS = """
    af-south-1 ap-east-1 ap-east-2 ap-northeast-1 ap-northeast-2 ap-northeast-3 ap-south-1 ap-south-2 ap-southeast-1
    ap-southeast-2 ap-southeast-3 ap-southeast-4 ap-southeast-5 ap-southeast-6 ap-southeast-7 ca-central-1 ca-west-1
    cn-north-1 cn-northwest-1 eu-central-1 eu-central-2 eu-north-1 eu-south-1 eu-south-2 eu-west-1 eu-west-2 eu-west-3
    eusc-de-east-1 il-central-1 me-central-1 me-south-1 mx-central-1 sa-east-1 us-east-1 us-east-2 us-gov-east-1
    us-gov-west-1 us-west-1 us-west-2
""".split()
# Names that SDKs and old interfaces use for a region, and its real name.
_OTHER_NAMES = {
    "aws-global": "us-east-1",
    "aws-cn-global": "cn-north-1",
    "aws-us-gov-global": "us-gov-west-1",
    "s3-external-1": "us-east-1",
    "us": "us-east-1",
    "eu": "eu-west-1",
}

# Link-local addresses, and other addresses at which clouds give a machine its credentials. No store is there.
_METADATA_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("169.254.0.0/16", "fe80::/10", "fd00:ec2::/32", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32"),
    )
)
_METADATA_HOSTS = frozenset(
    ("metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def host_of(account: Account) -> str:
    """The host of the endpoint in lower case, without a final dot. Raises ValueError if it cannot be parsed."""
    return (urlsplit(account.endpoint_url or "https://s3.amazonaws.com").hostname or "").rstrip(".")


def is_on_aws(account: Account) -> bool:
    """Whether there is no `endpoint_url`, or it has a host of AWS."""
    return _AWS_HOST.fullmatch(host_of(account)) is not None


def is_accelerated(account: Account) -> bool:
    """Whether it uses S3 Transfer Acceleration, which needs the bucket in the host name."""
    return _ACCELERATED.fullmatch(host_of(account)) is not None


def bucket_in_endpoint(account: Account) -> str | None:
    """Why `endpoint_url` is wrong: it already contains the name of the bucket."""
    if account.endpoint_url is None:
        return None
    if _without_label(host_of(account), account) is not None:
        # The host of a store may begin like this; an explicit `addressing` confirms it.
        if account.addressing == "path" and not is_on_aws(account):
            return None
        reason = "has the bucket's name in its host: write https://region.provider, not https://bucket.region.provider"
        return reason if is_on_aws(account) else f'{reason} (if the host itself is called so, say "addressing": "path")'
    if _segments(account)[-1:] == [account.s3_bucket_name]:
        return "has the bucket's name at the end of its path: write https://host, not https://host/bucket"
    return None


def bucket_place(account: Account) -> tuple[str, str]:
    """The identity of the bucket, which two accounts must not share: the namespace, and the bucket's name.

    On AWS the namespace is the whole partition, for every region and kind of host; elsewhere it is the endpoint.
    Raises ValueError for an `endpoint_url` that cannot be parsed.
    """
    bucket = account.s3_bucket_name
    if is_on_aws(account):
        return f"AWS {next((start for start in _PARTITIONS if account.region_name.startswith(start)), '')}", bucket
    url = urlsplit(account.endpoint_url or "")
    host = host_of(account)
    # An IP address has several spellings.
    host = str(ipaddress.ip_address(host)) if is_ip_address(host) else _without_label(host, account) or host
    segments = _segments(account)
    if segments[-1:] == [bucket]:
        del segments[-1]
    # One host answers http and https; on another port there may be another store.
    port = "" if url.port in (None, {"http": 80, "https": 443}.get(url.scheme)) else f":{url.port}"
    return f"{host}{port}/{'/'.join(segments)}", bucket


def region_doubt(account: Account) -> str | None:
    """Why `region_name` cannot be a region of AWS, as the end of a sentence; None if it can, or for other stores."""
    region = account.region_name
    if not is_on_aws(account) or _POSSIBLE_REGION.fullmatch(region):
        return None
    likely = _OTHER_NAMES.get(region) or next(iter(difflib.get_close_matches(region, _REGIONS, n=1)), None)
    hint = f"{likely} is probably meant" if likely else "the bucket's properties tell it"
    return f"is not a name that a region of AWS can have; {hint}"


def is_of_metadata(host: str) -> bool:
    """Whether it is a link-local address, or a host of a cloud's metadata service, in any spelling."""
    host = host.lower().rstrip(".")
    return host in _METADATA_HOSTS or any(
        address in network for address in _addresses(host) for network in _METADATA_NETWORKS
    )


def is_ip_address(text: str) -> bool:
    """Whether it is an IP address, without the brackets of a URL."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _addresses(host: str) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The IP address that `host` is, and the IPv4 address inside an IPv6 address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        with suppress(OSError):
            # 2852039166, 0xa9fea9fe, and 0251.0376.43518 are valid addresses, too.
            yield ipaddress.IPv4Address(socket.inet_aton(host))
        return
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and (address in _NAT64 or int(address) < 2**32):
            inner = ipaddress.IPv4Address(int(address) % 2**32)
        if inner is not None:
            yield inner


def _without_label(host: str, account: Account) -> str | None:
    """The host without the bucket as its first label; None if the host does not begin with the bucket."""
    start = f"{account.s3_bucket_name.lower()}."
    if not host.startswith(start) or _VPC_ENDPOINT.match(host) or is_ip_address(host):
        return None
    return host[len(start) :] or None


def _segments(account: Account) -> list[str]:
    return [segment for segment in urlsplit(account.endpoint_url or "").path.split("/") if segment]

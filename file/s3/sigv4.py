"""AWS Signature Version 4 for S3, in its header form.

`Signer` computes the headers that authenticate a request. The payload is not hashed again: it is `UNSIGNED-PAYLOAD`,
and a checksum in the signed headers protects the bytes. Pure: without clock and I/O; the caller passes the time. The
result is byte for byte that of botocore's signer; tests compare them.
Leaves to others: the headers of a request, the Host header (signed here, set by the HTTP client), the right time.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from file.logic.values import Account

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
_HOST = "host"

# Proxies and HTTP clients may add or rewrite these on the way, so a signature must not depend on them; botocore's list.
_NEVER_SIGNED = frozenset(
    (
        "authorization baggage connection expect keep-alive proxy-authenticate proxy-authorization te traceparent "
        "tracestate trailer transfer-encoding upgrade user-agent x-amzn-trace-id"
    ).split()
)


def encode_path(key: str) -> str:
    """Percent-encodes a key for S3: only `A-Za-z0-9-._~/` stay, and nothing is normalised (`//`, dots).

    HTTP clients collapse dot segments later, so a key with one must be refused before.
    """
    return quote(key, safe="/")


def encode_query(pairs: Sequence[tuple[str, str]]) -> str:
    """The canonical query. Send exactly this string, because it is signed."""
    if not pairs:
        return ""
    encoded = sorted((quote(name, safe=""), quote(value, safe="")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


@lru_cache(64)
def _canonical(sent: tuple[tuple[str, str], ...]) -> tuple[str, str, str]:
    """The canonical headers before and after `host`, and the names that are signed.

    Cached, because the requests of an upload to its accounts differ only in the host.
    """
    found = {name: value for name, value in sent if name not in _NEVER_SIGNED}
    if any(" " in value or "\t" in value or not value.isascii() for value in found.values()):
        # Runs of white space count as one space: AWS's rule, by which a proxy that tidies them does no harm.
        found = {name: " ".join(value.split()) for name, value in found.items()}
    names = sorted((*found, _HOST))
    lines = [f"{name}:{found[name]}\n" for name in names if name != _HOST]
    place = names.index(_HOST)
    return "".join(lines[:place]), "".join(lines[place:]), ";".join(names)


class Signer:
    """Signs requests with one account's credentials. It caches the current second and the key of the day."""

    __slots__ = (  # without a `__dict__`, which would show the secrets
        *("_access_key_id", "_account", "_day", "_keyed", "_region"),
        *("_scope", "_second", "_secret", "_stamp", "_token"),
    )

    def __init__(self, account: Account) -> None:
        self._account = account.name
        self._access_key_id = account.access_key_id
        self._secret = account.secret_access_key
        self._token = account.session_token
        self._region = account.region_name
        self._second: datetime | None = None
        self._stamp = self._day = self._scope = ""
        self._keyed: hmac.HMAC

    def __repr__(self) -> str:
        return f"Signer(account={self._account!r})"

    def sign(
        self,
        method: str,
        host: str,
        path: str,
        query: Sequence[tuple[str, str]],
        headers: Mapping[str, str],
        moment: datetime,
    ) -> dict[str, str]:
        """All headers to send except Host. Names are in lower case.

        `host`: the Host header; `path`: absolute and percent-encoded, as it is sent. `moment` must have a time zone.
        """
        second = moment.replace(microsecond=0)
        if second != self._second:
            self._turn_to(second)

        sent = dict(headers)
        sent["x-amz-date"] = self._stamp
        sent["x-amz-content-sha256"] = UNSIGNED_PAYLOAD
        if self._token is not None:
            sent["x-amz-security-token"] = self._token
        before, after, signed = _canonical(tuple(sent.items()))
        canonical = (
            f"{method}\n{path}\n{encode_query(query)}\n{before}host:{host}\n{after}\n{signed}\n{UNSIGNED_PAYLOAD}"
        )

        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{self._stamp}\n{self._scope}\n{digest}"
        # A copy of a keyed hash is cheaper than `hmac.digest`, which lets another thread have the interpreter.
        seal = self._keyed.copy()
        seal.update(to_sign.encode())
        sent["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self._access_key_id}/{self._scope}, "
            f"SignedHeaders={signed}, Signature={seal.hexdigest()}"
        )
        return sent

    def _turn_to(self, second: datetime) -> None:
        if second.tzinfo is None:
            raise ValueError("the moment of a signature needs a time zone")
        self._stamp = f"{second.astimezone(UTC):%Y%m%dT%H%M%SZ}"
        day = self._stamp[:8]
        if day != self._day:
            self._day = day
            self._scope = f"{day}/{self._region}/s3/aws4_request"
            key = f"AWS4{self._secret}".encode()
            for step in (day, self._region, "s3", "aws4_request"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._keyed = hmac.new(key, digestmod="sha256")
        self._second = second

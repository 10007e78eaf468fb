"""Who sent a request: a bearer token (RFC 6750) becomes the name under which the operator gave it out.

A service without tokens ("open") is protected by its network address alone, and every web page that a user inside the
network opens can send requests there. So an open service answers only under its own host names (`ALLOWED_HOSTS`), for a
page could reach it by a host name of its own that resolves to this address; and it refuses the pages of other sites,
except those in `CORS_ORIGINS`.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import lru_cache

from django.http.request import split_domain_port, validate_host
from starlette.datastructures import Headers

from file.api.requests import Principal, Request
from file.logic.errors import HostRefusedError, OriginRefusedError, TokenMissingError, TokenRefusedError

_ANYONE = Principal("anyone")


class Auth:
    """`tokens` maps a name to its token. `open` needs no token; without tokens and without `open`, all are refused.

    `hosts` (as Django's `ALLOWED_HOSTS`) and `origins` are for an open service.
    """

    def __init__(
        self, tokens: Mapping[str, str], *, open: bool, hosts: Sequence[str] = (), origins: Sequence[str] = ()
    ) -> None:
        self._open = open
        self._origins = frozenset(origins)
        self._is_ours = lru_cache(64)(lambda host: validate_host(split_domain_port(host)[0], hosts))
        self._digests = [(Principal(name), hashlib.sha256(token.encode()).digest()) for name, token in tokens.items()]

    @property
    def share(self) -> float:
        """The part of a scarce resource that one token may hold: half of it where there are other tokens."""
        return 0.5 if len(self._digests) > 1 else 1.0

    def principal_of(self, request: Request) -> Principal:
        """Raises `TokenMissingError` or `TokenRefusedError`; of an open service `HostRefusedError` or
        `OriginRefusedError`. Takes as long for a wrong token as for a right one.
        """
        if self._open:
            self._check_address(request.method, request.headers)
            return _ANYONE
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenMissingError
        given = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for principal, digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = principal
        if found is None:
            raise TokenRefusedError
        return found

    def _check_address(self, method: str, headers: Headers) -> None:
        """The request must be for one of our host names, and from no page of another site.

        Programs that are no browsers send neither `Origin` nor `Sec-Fetch-Site`.
        """
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise HostRefusedError
        # The browser's own word comes first: a proxy may write the port of `Host` in another form.
        if "*" in self._origins or headers.get("sec-fetch-site") == "same-origin":
            return
        origins = headers.getlist("origin")
        if any(origin not in self._origins and _authority(origin) != host.lower() for origin in origins):
            raise OriginRefusedError
        if not origins and headers.get("sec-fetch-site") == "cross-site" and not _is_link(method, headers):
            raise OriginRefusedError


def _authority(origin: str) -> str | None:
    """Host and port, without the scheme: HTTPS ends at the proxy in front. None for `null`."""
    scheme, separator, authority = origin.lower().partition("://")
    return authority if separator and scheme in ("http", "https") else None


def _is_link(method: str, headers: Headers) -> bool:
    """A click on a link: the browser shows the answer to its user, and the page with the link cannot read it."""
    opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return opened and method in ("GET", "HEAD")

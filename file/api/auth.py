"""Who may: a bearer token (RFC 6750) becomes the name under which the operator gave it out.

Where no token is needed, the address of the service would be all that protects it, and every web page that somebody
inside opens can send requests there. So an open service answers only under its own names (`ALLOWED_HOSTS`; else a page
reaches it by a name of its own that leads here), and not to pages of other sites (but those of `CORS_ORIGINS`).
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from functools import lru_cache

from django.http.request import split_domain_port, validate_host
from starlette.datastructures import Headers
from starlette.requests import Request

from file.logic.errors import HostRefusedError, OriginRefusedError, TokenMissingError, TokenRefusedError

OPEN = "anyone"


class Access:
    """`tokens` is name to token. `open` lets everybody in without one; no tokens at all lets nobody in.

    `hosts`, as Django has them, and `origins` are for an open service.
    """

    def __init__(
        self, tokens: Mapping[str, str], *, open: bool, hosts: Sequence[str] = (), origins: Sequence[str] = ()
    ) -> None:
        self._open = open
        self._origins = frozenset(origins)
        self._is_ours = lru_cache(64)(lambda host: validate_host(split_domain_port(host)[0], hosts))
        self._digests = [(name, hashlib.sha256(token.encode()).digest()) for name, token in tokens.items()]

    @property
    def share(self) -> float:
        """The part of what is scarce that one token may hold: with several tokens half, so that others go on."""
        return 0.5 if len(self._digests) > 1 else 1.0

    def name_of(self, request: Request) -> str:
        """Raises `TokenMissingError` or `TokenRefusedError`; of an open service `HostRefusedError` or
        `OriginRefusedError`. Takes as long for a wrong token as for a right one.
        """
        if self._open:
            self._check_address(request.method, request.headers)
            return OPEN
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenMissingError
        given = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        for name, digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = name
        if found is None:
            raise TokenRefusedError
        return found

    def _check_address(self, method: str, headers: Headers) -> None:
        """That the request is for us, and from no other site's page. Programs send neither header of the second."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            raise HostRefusedError
        # The browser's own word: a proxy may give the port of `Host` another form.
        if "*" in self._origins or headers.get("sec-fetch-site") == "same-origin":
            return
        origins = headers.getlist("origin")
        if any(origin not in self._origins and _authority(origin) != host.lower() for origin in origins):
            raise OriginRefusedError
        if not origins and headers.get("sec-fetch-site") == "cross-site" and not _is_opened(method, headers):
            raise OriginRefusedError


def _authority(origin: str) -> str | None:
    """Host and port; the scheme that a browser sees ends at the proxy in front. None for `null`."""
    scheme, separator, authority = origin.lower().partition("://")
    return authority if separator and scheme in ("http", "https") else None


def _is_opened(method: str, headers: Headers) -> bool:
    """By a click on a link: the browser shows the answer to its user, and the page with the link cannot read it."""
    opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return opened and method in ("GET", "HEAD")

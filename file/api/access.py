"""Who may: a bearer token (RFC 6750) becomes the name under which the operator gave it out."""

import hashlib
import hmac
from collections.abc import Mapping

from starlette.requests import Request

from file.logic.errors import TokenMissingError, TokenRefusedError

OPEN = "anyone"


class Access:
    """`tokens` is name to token. `open` lets everybody in without one; no tokens at all lets nobody in."""

    def __init__(self, tokens: Mapping[str, str], *, open: bool) -> None:
        self._open = open
        self._digests = [(name, hashlib.sha256(token.encode()).digest()) for name, token in tokens.items()]

    @property
    def share(self) -> float:
        """The part of what is scarce that one token may hold: with several tokens half, so that others go on."""
        return 0.5 if len(self._digests) > 1 else 1.0

    def name_of(self, request: Request) -> str:
        """Raises `TokenMissingError` or `TokenRefusedError`. Takes as long for a wrong token as for a right one."""
        if self._open:
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

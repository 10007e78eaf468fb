"""Why a connection failed: turns the messages of the HTTP client into a reason for the operator. Pure."""

from collections.abc import Sequence

CONNECT_SECONDS = 5

_CONNECTING = "client error (Connect)"
_LATE = f"no connection within {CONNECT_SECONDS} seconds"
# The first match wins.
_REASONS = (
    ("certificate not valid for name", "its certificate is for another host (endpoint_url)"),
    ("certificate expired", "its certificate has expired"),
    ("certificate", "its certificate is not trusted here (SSL_CERT_FILE)"),
    ("proxy authorization required", "the proxy wants credentials (HTTPS_PROXY)"),
    ("tunnel error", "the proxy does not lead us there, or is not there itself (HTTPS_PROXY)"),
    ("dns error", "its host is not known: check region_name and endpoint_url, or the network here"),
    ("refused", "it refuses connections"),
)


def connect_failure(causes: Sequence[str], *, is_late: bool) -> str | None:
    """The detail for our error, or None if there was a connection. `causes`: from the outermost to the innermost."""
    if _CONNECTING not in causes:
        return None
    said = "; ".join(causes[causes.index(_CONNECTING) :])  # the text before it is the URL, which contains the key
    why = _LATE if is_late else next((why for sign, why in _REASONS if sign in said), None)
    return f"cannot be reached: {why}" if why else "cannot be reached"

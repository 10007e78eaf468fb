"""Why no connection came about: what the HTTP client says of it, and what we do. Pure."""

from collections.abc import Sequence

CONNECT_SECONDS = 5

_CONNECTING = "client error (Connect)"
_LATE = f"no connection within {CONNECT_SECONDS} seconds"
# The first that is found counts.
_REASONS = (
    ("certificate not valid for name", "its certificate is for another host (endpoint_url)"),
    ("certificate expired", "its certificate has expired"),
    ("certificate", "its certificate is not trusted here (SSL_CERT_FILE)"),
    ("proxy authorization required", "the proxy wants credentials (HTTPS_PROXY)"),
    ("tunnel error", "the proxy does not lead us there, or is not there itself (HTTPS_PROXY)"),
    ("dns error", "its host is not known: check region_name and endpoint_url, or the network here"),
    ("refused", "it refuses connections"),
)


def why_unconnected(causes: Sequence[str], *, is_late: bool) -> str | None:
    """A detail for our error. None: there was a connection. `causes`, from the outermost to the innermost."""
    if _CONNECTING not in causes:
        return None
    said = "; ".join(causes[causes.index(_CONNECTING) :])  # before it stands the URL, which has the key in it
    why = _LATE if is_late else next((why for sign, why in _REASONS if sign in said), None)
    return f"cannot be reached: {why}" if why else "cannot be reached"

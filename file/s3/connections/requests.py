"""Writes a request of HTTP/1.1 with its body in one piece of memory. Pure."""

import re
from collections.abc import Mapping

from file.logic.values import Body

USER_AGENT = "mentum-file-upload"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def request_bytes(method: str, target: str, host: str, headers: Mapping[str, str], body: Body | None) -> bytes:
    """`target`: path and query, encoded. Copies the body, so that its memory is free when this returns.

    Raises `ValueError` for a control character, which could end a line.
    """
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", "accept: */*", f"user-agent: {USER_AGENT}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    text = "".join(lines)
    if not text.isprintable() and _CONTROL.search(text):
        raise ValueError("a header of the request has a control character")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return b"".join((head, body)) if body else head

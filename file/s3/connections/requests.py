"""Writes a request of HTTP/1.1 with its body in one piece of memory. Pure."""

from collections.abc import Mapping

from file.logic.values import Body

USER_AGENT = "mentum-file-upload"


def request_bytes(method: str, target: str, host: str, headers: Mapping[str, str], body: Body | None) -> bytes:
    """`target`: path and query, encoded. Copies the body, so that its memory is free when this returns.

    Raises `ValueError` for a character that could end a line.
    """
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", "accept: */*", f"user-agent: {USER_AGENT}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    text = "".join(lines)
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError("a header of the request has the end of a line in it")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return b"".join((head, body)) if body else head

"""The key in a path: the one place where `/files/{key}` is taken apart, for writing and for reading alike."""

from starlette.requests import Request

from file.logic.errors import KeyRefusedError
from file.logic.naming import key_from_path

_FILES = b"/files/"


def key_of(request: Request, *, longest_prefix_bytes: int) -> str:
    """From the path as it was sent: the decoded one does not tell `%2F` from `/`. Raises `KeyRefusedError`."""
    raw: bytes = request.scope["raw_path"]
    if not raw.startswith(_FILES):
        raise KeyRefusedError(f"The path is spelt in an unusual way: send {request.method} /files/{{key}}.")
    if request.scope["query_string"]:
        raise KeyRefusedError("The path has a query; write a question mark that belongs to the key as %3F.")
    return key_from_path(raw.removeprefix(_FILES), longest_prefix_bytes=longest_prefix_bytes)

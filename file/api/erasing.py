"""DELETE /files/{key}: the file is taken out of every account, all versions of it, and stays out.

Answers 200 when every account said that nothing of it is there, 202 while one has not: then it goes on by itself, and
the same request, or `GET /receipts/{id}`, tells how far it is and what stands in the way.
"""

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from file.api.conditions import is_unchanged, validators_of
from file.api.paths import key_of
from file.api.responses import erasure_response
from file.logic.erasing import Erasure
from file.logic.errors import FileNotFoundHereError


class Eraser(Protocol):
    """Takes files out of every account."""

    async def erase(self, key: str, file_id: str | None) -> Erasure | None:
        """From now on the file does not exist for a reader. Returns how far it is after some seconds; None if there is
        no such file, or another than `file_id`. Raises `LedgerUnavailableError`.
        """


async def delete_file(request: Request) -> Response:
    """The endpoint of `DELETE /files/{key}`."""
    line = request.scope["mentum.line"]
    line["who"] = request.app.uploads.access.name_of(request)
    key = key_of(request, longest_prefix_bytes=request.app.uploads.longest_prefix_bytes)
    eraser: Eraser = request.app.eraser
    erasure = await eraser.erase(key, await _meant(request, key))
    if erasure is None:
        raise FileNotFoundHereError
    line |= {"id": erasure.id, "erased": erasure.is_done}
    return erasure_response(erasure)


async def _meant(request: Request, key: str) -> str | None:
    """The id of the file that a condition is about, or None without one. Raises `ConditionFailedError`."""
    if not any(name in request.headers for name in ("if-match", "if-unmodified-since")):
        return None
    receipt = await request.app.readings.records.file(key)
    if receipt is None:
        raise FileNotFoundHereError
    is_unchanged(request.headers, validators_of(receipt))
    return str(receipt.id)

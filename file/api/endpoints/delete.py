"""DELETE /files/{key}: the file is taken out of every account, all versions of it, and stays out.

Answers 200 when every account said that nothing of it is there, 202 while one has not: then it goes on by itself, and
the same request, or `GET /receipts/{id}`, tells how far it is and what stands in the way.
"""

from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from file.api.endpoints.paths import key_of
from file.api.headers.preconditions import file_to_erase
from file.api.responses import erasure_response
from file.logic.erasing import Erasure
from file.logic.errors import ConditionFailedError, FileNotFoundHereError


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
    meant = await file_to_erase(key, request.headers, request.app.readings.records)
    erasure = await eraser.erase(key, meant)
    if erasure is None:
        raise FileNotFoundHereError if meant is None else ConditionFailedError("The file was replaced meanwhile.")
    line |= {"id": erasure.id, "erased": erasure.is_done}
    return erasure_response(erasure)

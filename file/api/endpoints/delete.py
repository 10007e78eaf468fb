"""DELETE /files/{key}: the file is taken out of every account, all versions of it, and stays out.

Answers 200 when every account said that nothing of it is there, 202 while one has not: then it goes on by itself, and
the same request, or `GET /receipts/{id}`, tells how far it is and what stands in the way.
"""

from typing import Protocol

from starlette.responses import Response

from file.api.endpoints.get import Records
from file.api.headers.preconditions import file_to_erase
from file.api.requests import Request
from file.api.responses import erasure_response
from file.api.uploads import Uploads
from file.logic.erasing import Erasure
from file.logic.errors import ConditionFailedError, FileNotFoundHereError


class Eraser(Protocol):
    """Takes files out of every account."""

    async def erase(self, key: str, file_id: str | None) -> Erasure | None:
        """From now on the file does not exist for a reader. Returns how far it is after some seconds; None if there is
        no such file, or another than `file_id`. Raises `LedgerUnavailableError`.
        """


async def delete_file(request: Request, *, eraser: Eraser, records: Records, uploads: Uploads) -> Response:
    """The endpoint of `DELETE /files/{key}`."""
    key = request.key(longest_prefix_bytes=uploads.longest_prefix_bytes)
    meant = await file_to_erase(key, request.headers, records.file)
    erasure = await eraser.erase(key, meant)
    if erasure is None:
        raise FileNotFoundHereError if meant is None else ConditionFailedError("The file was replaced meanwhile.")
    request.line |= {"id": erasure.id, "erased": erasure.is_done}
    return erasure_response(erasure)

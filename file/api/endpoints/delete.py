"""DELETE /files/{key}: all versions of the file are removed from every account, and stay away.

Answers 200 when every account confirmed that it has nothing of the file, and 202 before. Then the erasure continues in
the background, and the same request, or `GET /receipts/{id}`, has its progress and the reasons of a delay.
"""

from http import HTTPStatus
from typing import Protocol

from starlette.responses import Response

from file.api.endpoints.get import Records
from file.api.headers.preconditions import file_to_erase
from file.api.requests import Request
from file.api.responses import erasure_json, json_response
from file.api.uploads import Uploads
from file.logic.errors import ConditionFailedError, FileNotFoundHereError
from file.logic.values import Erasure


class Eraser(Protocol):
    """Erases files from every account."""

    async def erase(self, key: str, file_id: str | None) -> Erasure | None:
        """From now on the file does not exist for a reader. Returns the progress after some seconds; None if the key
        has no file, or another file than `file_id`. Raises `LedgerUnavailableError`.
        """


async def delete_file(request: Request, *, eraser: Eraser, records: Records, uploads: Uploads) -> Response:
    key = request.key(longest_prefix_bytes=uploads.longest_prefix_bytes)
    meant = await file_to_erase(key, request.headers, records.file)
    erasure = await eraser.erase(key, meant)
    if erasure is None:
        raise FileNotFoundHereError if meant is None else ConditionFailedError("Another file has the key now.")
    request.line |= {"id": erasure.id, "erased": erasure.is_done}
    return json_response(erasure_json(erasure), HTTPStatus.OK if erasure.is_done else HTTPStatus.ACCEPTED)

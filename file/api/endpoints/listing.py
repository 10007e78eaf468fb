"""GET /files, a page of the acknowledged files, and GET /receipts/{id}, the state of a file in each account."""

from starlette.datastructures import QueryParams
from starlette.responses import Response

from file.api.endpoints.get import Records
from file.api.requests import Request
from file.api.responses import erasure_json, json_response, listed, receipt_json
from file.logic.errors import FileNotFoundHereError, ListingRefusedError
from file.logic.values import FileState

MAX_LIMIT = 1000
_DEFAULT_LIMIT = 100
_PARAMETERS = ("prefix", "after", "limit", "state")
_STATES = (FileState.STORED, FileState.PARTIAL)


async def list_files(request: Request, *, records: Records) -> Response:
    asked = _asked(QueryParams(request.query_string))
    limit = _limit(asked.get("limit"))
    # One file more than is shown, to know whether there is a next page.
    found = await records.page(
        prefix=asked.get("prefix", ""), after=asked.get("after", ""), limit=limit + 1, state=_state(asked.get("state"))
    )
    shown = found[:limit]
    following = shown[-1].key if len(found) > limit else None
    return json_response({"files": [listed(file) for file in shown], "next": following})


async def get_receipt(request: Request, *, records: Records) -> Response:
    file_id = request.path_params["id"]
    receipt = await records.receipt(file_id)
    if receipt is None:
        erasure = await records.erasure(file_id)
        if erasure is None:
            raise FileNotFoundHereError
        request.line["id"] = erasure.id
        return json_response(erasure_json(erasure))
    request.line |= {"id": receipt.id, "key": receipt.key}
    return json_response(receipt_json(receipt))


def _asked(query: QueryParams) -> dict[str, str]:
    asked: dict[str, str] = {}
    for name, value in query.multi_items():
        if name not in _PARAMETERS:  # the name is not repeated in the answer: it may be anything
            raise ListingRefusedError(f"A parameter is unknown. The parameters are {', '.join(_PARAMETERS)}.")
        if name in asked:
            raise ListingRefusedError(f"The parameter {name} was sent more than once.")
        asked[name] = value
    return asked


def _limit(text: str | None) -> int:
    if text is None:
        return _DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_LIMIT)) and 1 <= int(text) <= MAX_LIMIT):
        raise ListingRefusedError(f"The parameter limit must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _state(text: str | None) -> FileState | None:
    if text is None:
        return None
    if text not in _STATES:
        raise ListingRefusedError(f"The parameter state must be {' or '.join(_STATES)}.")
    return FileState(text)

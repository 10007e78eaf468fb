"""The outermost layer of every request: its id, its limit, its one log line, and an answer whatever happens.

Behind it are the API and Django's pages. Django never sees more than 1 MiB of a body: its handler spools the whole body
before a view runs. After an early answer, the rest of the body is read and thrown away for a while (`discarding.py`).
"""

import re
import time
from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from file.api.app import Api
from file.api.body import Body, BodyLimits
from file.api.discarding import Discarding
from file.api.requests import REQUEST_ID, Request, check_head, request_of, seems_to_be_for_s3
from file.api.responses import problem, problem_response, s3_error
from file.logic.errors import S3ApiMissingError, UploadError, without_frames
from file.logic.naming import new_file_id
from file.logic.values import MiB

DJANGO_BYTES = 1 * MiB
_NOSNIFF = (b"x-content-type-options", b"nosniff")  # a browser takes no answer for a page, whatever a client stored
_READING = ("GET", "HEAD")  # how a reading ends is known after its answer only
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_log = structlog.get_logger()


class Middleware:
    """An ASGI application around `api` and `pages`. `wrap` may put a layer around the answers, for CORS."""

    def __init__(
        self,
        api: Api,
        pages: ASGIApp,
        *,
        limits: BodyLimits,
        discarding: Discarding,
        wrap: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        self._api = api
        self._pages = pages
        self._limits = limits
        self._page_limits = BodyLimits(DJANGO_BYTES, limits.min_bytes_per_second, limits.grace_seconds)
        self._discarding = discarding
        self._answered = wrap(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._api(scope, receive, send)
        elif scope["type"] == "http":
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request's id and its log line, around everything else."""
        request_id = _request_id(scope)
        REQUEST_ID.set(request_id)
        is_api = self._api.owns(scope["path"])
        body = Body(scope, receive, self._limits if is_api else self._page_limits)
        request = Request(scope, request_id, body)
        reply = _Reply(send, request, self._api, is_api=is_api)
        try:
            await self._answer_always(scope, request, reply)
            _log_line(request)
            self._api.count(scope["path"], request.method, request.status)
            body.close()
            if not body.ended and not body.gone:
                await self._discarding.read_on(body)
        finally:  # the server closes the connection when the last reference to it is gone
            body.release()
            reply.release()

    async def _answer_always(self, scope: Scope, request: Request, reply: "_Reply") -> None:
        """Also when a layer around `_answer` fails."""
        try:
            await self._answered(scope, request.body.next_message, reply.send)
        except Exception as error:  # noqa: BLE001 - every error becomes an answer
            response = _crashed(request, error)
            if not request.status:
                await response(scope, request.body.next_message, reply.send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Every error becomes an answer, unless an answer has begun already."""
        request = request_of(scope)
        response = None
        try:
            check_head(scope)
            request.body.check_head()
            await (self._api if self._api.owns(scope["path"]) else self._pages)(scope, receive, send)
        except S3ApiMissingError as error:
            request.line["code"] = error.code
            response = s3_error(error, request.id)
        except UploadError as error:
            request.line["code"] = error.code
            response = problem(without_frames(error))
        except HTTPException as error:
            response = _unrouted(scope, error)
        except Exception as error:  # noqa: BLE001 - the last place where an answer can be given
            response = _crashed(request, error)
        if response is not None and not request.status:
            await response(scope, receive, send)


def _log_line(request: Request) -> None:
    """The one line of the request, however often this is called."""
    if not request.is_logged:
        request.is_logged = True
        seconds = round(time.perf_counter() - request.began, 4)
        _log.info("request", **request.line, status=request.status, received=request.body.received, seconds=seconds)


def _crashed(request: Request, error: Exception) -> Response:
    """The error goes into the log; what its frames hold is released."""
    request.line["code"] = code = "internal_error"
    _log.error("request_crashed", method=request.method, path=request.line["path"], exc_info=error)
    without_frames(error)
    detail = "The service failed because of a mistake in it. The log has the error under the id of this request."
    return problem_response(HTTPStatus.INTERNAL_SERVER_ERROR, code, detail, request_id=request.id)


def _unrouted(scope: Scope, error: HTTPException) -> Response:
    """The path does not exist, or does not take this method."""
    request = request_of(scope)
    if error.status_code == HTTPStatus.NOT_FOUND:
        if seems_to_be_for_s3(scope):
            request.line["code"] = S3ApiMissingError.code
            return s3_error(S3ApiMissingError(), request.id)
        request.line["code"] = code = "no_such_resource"
        detail = "This path does not exist. Upload with POST /upload or PUT /files/{key}."
        return problem_response(HTTPStatus.NOT_FOUND, code, detail)
    request.line["code"] = code = "method_not_allowed"
    detail = "This path does not take this method. The header Allow names the methods that it takes."
    return problem_response(HTTPStatus(error.status_code), code, detail, headers=dict(error.headers or {}))


class _Reply:
    """Sends the answer, with the headers that every answer has."""

    def __init__(self, send: Send, request: Request, api: Api, *, is_api: bool) -> None:
        self._send = send
        self._request = request
        self._api = api
        self._is_api = is_api

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._request.status = message["status"]
            if self._request.method not in _READING:  # what is answered stands in the log, also after a kill
                _log_line(self._request)
            headers = [*message.get("headers", ()), (b"x-request-id", self._request.id.encode())]
            if self._is_api or all(name != _NOSNIFF[0] for name, _ in headers):  # Django's pages have it
                headers.append(_NOSNIFF)
            # After a body that was not read to its end, the next request would begin inside that body.
            if self._api.is_draining or not self._request.body.ended:
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        await self._send(message)

    def release(self) -> None:
        """Give up the reference to the connection: an error may still refer to this object."""
        self._send = _unheard


async def _unheard(message: Message) -> None:
    """The connection is gone."""


def _request_id(scope: Scope) -> str:
    """The client's id, if it is harmless in a log; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return new_file_id()

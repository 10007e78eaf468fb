"""The API: which path leads to which endpoint, what a request needs there, and what begins and ends with the service.

Each endpoint is declared once, in `_routes`, with the right that it needs. `_answer` is the one place that authorises:
no request gets to an endpoint past it.

Requests are counted by route, method and status for `/_/metrics`. A route is the template of a path, never the path: a
million paths do not make a million series. Paths of Django are `pages`, paths of the API that do not exist are
`unknown`, methods that HTTP does not have are `other`, and a request that ended without an answer has the status
`none`. The series that alerts need exist from the start, at zero.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import cache, partial
from http import HTTPStatus

import structlog
from prometheus_client import Counter
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from file import metrics as counters
from file.api.auth import Auth
from file.api.endpoints import delete, form, get, listing, metrics, probes, put
from file.api.requests import Request, Right, request_of
from file.api.uploads import Uploads
from file.logic.accounts.registry import Registry
from file.logic.errors import MalformedRequestError

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
# A key may be anything, line breaks included: the endpoint says why a key is refused, a 404 would not.
_PARAMETERS = {"key": "(?s:.*)", "id": "[^/]+"}
_log = structlog.get_logger()

PAGES = "pages"
UNKNOWN = "unknown"
_COUNTED_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))

# The statuses of each route. The series of another status exists from its first request on.
FROM_THE_START = {
    ("PUT", "/files/{key}"): "200 201 202 400 401 408 409 412 413 422 500 502 503",
    ("POST", "/upload"): "201 202 400 401 408 409 413 415 422 500 502 503",
    ("GET", "/files/{key}"): "200 206 304 401 404 412 416 500 502 503",
    ("HEAD", "/files/{key}"): "200 304 401 404 500 502 503",
    ("DELETE", "/files/{key}"): "200 202 401 404 500 503",
    ("GET", "/files"): "200 400 401 500 503",
    ("GET", "/receipts/{id}"): "200 401 404 500 503",
    ("GET", "/_/health"): "200 500",
    ("GET", "/_/ready"): "200 500 503",
    ("GET", "/_/metrics"): "200 401 500",
    ("GET", "/_/accounts"): "200 401 500",
    ("GET", PAGES): "200 404 500",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What answers one method of a path. `needs` is the right that a request needs; None: the endpoint is public."""

    answer: Callable[[Request], Awaitable[Response]]
    needs: Right | None


class Route:
    """All endpoints of one path. HEAD is answered by the endpoint of GET."""

    def __init__(self, template: str, **endpoints: Endpoint) -> None:
        self.template = template
        self.endpoints: Mapping[str, Endpoint] = endpoints
        if "GET" in endpoints:
            self.endpoints = endpoints | {"HEAD": endpoints["GET"]}
        self.allow = ", ".join((*self.endpoints, "OPTIONS"))
        pattern = re.sub(r"{(\w+)}", lambda name: f"(?P<{name[1]}>{_PARAMETERS[name[1]]})", template)
        self.match = re.compile(pattern).fullmatch


class Api:
    """An ASGI application. `opened` holds open what the requests need, for as long as the service runs."""

    def __init__(
        self,
        auth: Auth,
        uploads: Uploads,
        readings: get.Readings,
        registry: Registry,
        opened: Callable[[], AbstractAsyncContextManager[None]],
        *,
        eraser: delete.Eraser,
        figures: metrics.Metrics,
        version: str,
    ) -> None:
        self.uploads = uploads
        self.readings = readings
        self.account_states = probes.AccountStates(registry)
        self._started = False
        self._auth = auth
        self._opened = opened
        self.routes = self._routes(eraser, figures, version)

    def _routes(self, eraser: delete.Eraser, figures: metrics.Metrics, version: str) -> Sequence[Route]:
        """In the order in which they are tried: the path of most requests comes first."""
        uploads, readings, records = self.uploads, self.readings, self.readings.records
        return (
            Route(
                "/files/{key}",
                PUT=Endpoint(partial(put.put_file, uploads=uploads, records=records), needs="upload"),
                GET=Endpoint(partial(get.get_file, readings=readings, uploads=uploads), needs="read"),
                DELETE=Endpoint(
                    partial(delete.delete_file, eraser=eraser, records=records, uploads=uploads), needs="erase"
                ),
            ),
            Route("/upload", POST=Endpoint(partial(form.upload_form, uploads=uploads), needs="upload")),
            Route("/files", GET=Endpoint(partial(listing.list_files, records=records), needs="list")),
            Route("/receipts/{id}", GET=Endpoint(partial(listing.get_receipt, records=records), needs="read")),
            Route("/_/health", GET=Endpoint(partial(probes.health, version=version), needs=None)),
            Route("/_/ready", GET=Endpoint(partial(probes.ready, is_ready=self._is_ready), needs=None)),
            Route("/_/metrics", GET=Endpoint(partial(metrics.metrics, registry=figures.registry), needs="metrics")),
            Route("/_/accounts", GET=Endpoint(partial(probes.accounts, states=self.account_states), needs="metrics")),
        )

    @property
    def is_draining(self) -> bool:
        return self.uploads.admission.draining

    def owns(self, path: str) -> bool:
        """Every other path is Django's. `*` is the target of a question about the server as a whole."""
        return path in ("/upload", "/files", "*") or path.startswith(("/files/", "/receipts/", "/_/"))

    def count(self, path: str, method: str, status: int) -> None:
        """A request has ended. `status` 0: without an answer."""
        route, _ = self._find(path)
        name = route.template if route is not None else UNKNOWN if self.owns(path) else PAGES
        _requests(name, method if method in _COUNTED_METHODS else "other", status).inc()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            response = await self._answer(request_of(scope), scope["path"])
            await response(scope, receive, send)

    async def _answer(self, request: Request, path: str) -> Response:
        """Find the endpoint, authorise, and call it. OPTIONS needs no token: its answer has the methods of the path."""
        if path == "*":
            if request.method != "OPTIONS":
                raise MalformedRequestError("The request target `*` is for OPTIONS only.")
            return _options(", ".join(_METHODS))
        route, request.path_params = self._find(path)
        if route is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if request.method == "OPTIONS":
            return _options(route.allow)
        endpoint = route.endpoints.get(request.method)
        if endpoint is None:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": route.allow})
        if endpoint.needs is not None:
            # Every token has every right, so a valid token is enough.
            request.principal = self._auth.principal_of(request)
            request.line["who"] = request.principal.name
        return await endpoint.answer(request)

    def _find(self, path: str) -> tuple[Route | None, Mapping[str, str]]:
        for route in self.routes:
            if found := route.match(path):
                return route, found.groupdict()
        return None, {}

    def _is_ready(self) -> bool:
        return self._started and not self.is_draining

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._opened())
            except Exception as error:  # noqa: BLE001 - the server gets it, and ends
                _log.exception("start_failed")
                await send({"type": "lifespan.startup.failed", "message": repr(error)})
                return
            self._started = True
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown
            self._started = False
        await send({"type": "lifespan.shutdown.complete"})


def _options(methods: str) -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT, headers={"allow": methods})


# There are few labels, and looking one up takes longer than counting.
@cache
def _requests(route: str, method: str, status: int) -> Counter:
    return counters.HTTP_REQUESTS.labels(route, method, str(status) if status else "none")


for (_method, _route), _statuses in FROM_THE_START.items():
    for _status in _statuses.split():
        _requests(_route, _method, int(_status))

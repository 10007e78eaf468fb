"""Requests, counted by route, method and status for `/_/metrics`.

A route is the template of a path, never the path: a million paths do not make a million series. Paths of Django are
`pages`, paths of the API that do not exist are `unknown`, methods that HTTP does not have are `other`, and a request
that ended without an answer has the status `none`. The series that alerts need exist from the start, at zero.
"""

from functools import cache

from prometheus_client import Counter

from file.logic import metrics

PAGES = "pages"
UNKNOWN = "unknown"
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))

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


def count(route: str, method: str, status: int) -> None:
    """A request has ended. `status` 0: without an answer."""
    _requests(route, method if method in _METHODS else "other", status).inc()


# There are few labels, and looking one up takes longer than counting.
@cache
def _requests(route: str, method: str, status: int) -> Counter:
    return metrics.HTTP_REQUESTS.labels(route, method, str(status) if status else "none")


for (_method, _route), _statuses in FROM_THE_START.items():
    for _status in _statuses.split():
        _requests(_route, _method, int(_status))

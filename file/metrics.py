"""The counters for Prometheus. Dashboards depend on names and labels: docs/metrics.md lists them.

Counters belong to the process and only grow. Counters with known labels exist from the start at zero, because `rate()`
does not see the first increment of a new series. Values of the moment (in flight, memory, pending) are not stored
here; `file/api/endpoints/metrics.py` reads them on request.
"""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

from file.logic.errors import AccountError, UnreadableError, UploadError

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_counter = partial(Counter, registry=REGISTRY)
_seconds = partial(Histogram, buckets=_SECONDS, registry=REGISTRY)

HTTP_REQUESTS = _counter(
    "mentum_http_requests",
    "Requests by route (the template of the path), method and status.",
    ["route", "method", "status"],
)
IDLE_CONNECTIONS_ENDED = _counter(
    "mentum_idle_connections_ended", "Connections without a request that were closed to make room for others."
)
UPLOADS = _counter("mentum_uploads", "Uploads by what became of them.", ["outcome"])
UPLOADS_BY_OUTCOME = {
    outcome: UPLOADS.labels(outcome)
    for outcome in ("stored", "partial", "repeated", "failed", "refused", "busy", "crashed")
}
UPLOAD_BYTES = _counter("mentum_upload_bytes", "Bytes of acknowledged files.")
UPLOAD_SECONDS = _seconds("mentum_upload_seconds", "From an upload's first byte to its answer.")
SLOW_READERS = _counter("mentum_slow_readers", "Readers that were broken off because they took the file too slowly.")
S3_REQUESTS = _counter("mentum_s3_requests", "Requests to accounts by result.", ["account", "operation", "result"])
S3_SECONDS = _seconds(
    "mentum_s3_request_seconds", "From a request to an account to its answer.", ["account", "operation"]
)
S3_RETRIES = _counter("mentum_s3_retries", "Calls to accounts that were repeated.", ["account", "operation"])
CAUGHT_UP_REPLICAS = _counter(
    "mentum_caught_up_replicas", "Replicas that catch-up brought, or found in the account.", ["account", "result"]
)
CATCH_UP_FAILURES = _counter(
    "mentum_catch_up_failures",
    "Replicas that catch-up could not settle, by the error's code; each is tried again.",
    ["account", "code"],
)
_CAUGHT_UP = _counter(
    "mentum_caught_up",
    "Deprecated: mentum_caught_up_replicas_total and mentum_catch_up_failures_total take its place.",
    ["account", "result"],
)
CAUGHT_UP_BYTES = _counter("mentum_caught_up_bytes", "Bytes that catch-up brought.", ["account"])
COMMIT_ENTRIES = Histogram(
    "mentum_ledger_commit_entries",
    "Entries in one commit of the ledger.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)
COMMIT_SECONDS = _seconds("mentum_ledger_commit_seconds", "One commit of the ledger.")


def _codes_of(kind: type[UploadError]) -> tuple[str, ...]:
    """The codes of all errors below `kind`."""
    return tuple(code for each in kind.__subclasses__() for code in (each.code, *_codes_of(each)))


_BROUGHT, _FOUND = "brought", "found"
_CATCH_UP_CODES = (*_codes_of(AccountError), UnreadableError.code)
_RETRIED = ("begin", "part", "publish", "remove")


def begin(account: str) -> None:
    """Creates the series of the account at zero."""
    for operation in _RETRIED:
        S3_RETRIES.labels(account, operation)
    for result in (_BROUGHT, _FOUND):
        CAUGHT_UP_REPLICAS.labels(account, result)
        _CAUGHT_UP.labels(account, result)
    for code in _CATCH_UP_CODES:
        CATCH_UP_FAILURES.labels(account, code)
        _CAUGHT_UP.labels(account, code)
    CAUGHT_UP_BYTES.labels(account)


def caught_up(account: str, *, brought: bool) -> None:
    """Counts a replica that catch-up completed: it copied the file, or found it in the account."""
    result = _BROUGHT if brought else _FOUND
    CAUGHT_UP_REPLICAS.labels(account, result).inc()
    _CAUGHT_UP.labels(account, result).inc()


def catch_up_failed(account: str, code: str) -> None:
    CATCH_UP_FAILURES.labels(account, code).inc()
    _CAUGHT_UP.labels(account, code).inc()

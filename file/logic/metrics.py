"""The counters for Prometheus. Dashboards depend on names and labels: docs/metrics.md lists them.

Counters belong to the process and only grow. Counters with known labels exist from the start at zero, because `rate()`
does not see the first increment of a new series. Values of the moment (in flight, memory, pending) are not stored
here; `file/api/endpoints/metrics.py` reads them on request.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from file.logic.errors import AccountError, UnreadableError, UploadError

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

HTTP_REQUESTS = Counter(
    "mentum_http_requests",
    "Requests by route (the template of the path), method and status.",
    ["route", "method", "status"],
    registry=REGISTRY,
)
IDLE_CONNECTIONS_ENDED = Counter(
    "mentum_idle_connections_ended",
    "Connections without a request that were closed to make room for others.",
    registry=REGISTRY,
)
UPLOADS = Counter("mentum_uploads", "Uploads by what became of them.", ["outcome"], registry=REGISTRY)
UPLOADS_BY_OUTCOME = {
    outcome: UPLOADS.labels(outcome)
    for outcome in ("stored", "partial", "repeated", "failed", "refused", "busy", "crashed")
}
UPLOAD_BYTES = Counter("mentum_upload_bytes", "Bytes of acknowledged files.", registry=REGISTRY)
UPLOAD_SECONDS = Histogram(
    "mentum_upload_seconds", "From an upload's first byte to its answer.", buckets=_SECONDS, registry=REGISTRY
)
SLOW_READERS = Counter(
    "mentum_slow_readers", "Readers that were broken off because they took the file too slowly.", registry=REGISTRY
)
S3_REQUESTS = Counter(
    "mentum_s3_requests", "Requests to accounts by result.", ["account", "operation", "result"], registry=REGISTRY
)
S3_SECONDS = Histogram(
    "mentum_s3_request_seconds",
    "From a request to an account to its answer.",
    ["account", "operation"],
    buckets=_SECONDS,
    registry=REGISTRY,
)
S3_RETRIES = Counter(
    "mentum_s3_retries", "Calls to accounts that were repeated.", ["account", "operation"], registry=REGISTRY
)
CAUGHT_UP_REPLICAS = Counter(
    "mentum_caught_up_replicas",
    "Replicas that catch-up brought, or found in the account.",
    ["account", "result"],
    registry=REGISTRY,
)
CATCH_UP_FAILURES = Counter(
    "mentum_catch_up_failures",
    "Replicas that catch-up could not settle, by the error's code; each is tried again.",
    ["account", "code"],
    registry=REGISTRY,
)
_CAUGHT_UP = Counter(
    "mentum_caught_up",
    "Deprecated: mentum_caught_up_replicas_total and mentum_catch_up_failures_total take its place.",
    ["account", "result"],
    registry=REGISTRY,
)
CAUGHT_UP_BYTES = Counter("mentum_caught_up_bytes", "Bytes that catch-up brought.", ["account"], registry=REGISTRY)
BROKEN = Gauge("mentum_account_left_alone", "1 while background work waits for it.", ["account"], registry=REGISTRY)
COMMIT_ENTRIES = Histogram(
    "mentum_ledger_commit_entries",
    "Entries in one commit of the ledger.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    registry=REGISTRY,
)
COMMIT_SECONDS = Histogram(
    "mentum_ledger_commit_seconds", "One commit of the ledger.", buckets=_SECONDS, registry=REGISTRY
)


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
    """Counts a failed attempt of catch-up."""
    CATCH_UP_FAILURES.labels(account, code).inc()
    _CAUGHT_UP.labels(account, code).inc()

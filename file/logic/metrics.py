"""What is counted, for Prometheus. Names and labels are a promise to dashboards: docs/operations.md lists them.

Counters are the process's own and only ever grow. What is true at a moment (in flight, memory, pending) is not kept
here but read when it is asked for: `file/api/metrics.py`.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

UPLOADS = Counter("mentum_uploads", "Uploads by what became of them.", ["outcome"], registry=REGISTRY)
UPLOAD_BYTES = Counter("mentum_upload_bytes", "Bytes of acknowledged files.", registry=REGISTRY)
UPLOAD_SECONDS = Histogram(
    "mentum_upload_seconds", "From an upload's first byte to its answer.", buckets=_SECONDS, registry=REGISTRY
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
CAUGHT_UP = Counter("mentum_caught_up", "Replicas that catch-up brought.", ["account", "result"], registry=REGISTRY)
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

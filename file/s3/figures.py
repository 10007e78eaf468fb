"""Counts and times the requests to one account for `/_/metrics`.

Each request counts at its end, also repetitions. Its result is `ok`, the code of our error, or `cut_off`: we did not
wait for its end, because its time was up or its answer was no longer needed.
"""

from functools import cache
from types import TracebackType
from typing import Self

from prometheus_client import Counter, Histogram
from prometheus_client.context_managers import Timer

from file import metrics
from file.logic import errors

OK = "ok"
CUT_OFF = "cut_off"
OPERATIONS = tuple(
    "put begin part complete abort head get delete list_versions list_uploads list_parts list_objects probe".split()
)
_ERRORS = (
    *(errors.AccessRefusedError, errors.BucketMissingError, errors.WrongRegionError, errors.AccountThrottledError),
    *(errors.AccountFailingError, errors.AccountUnreachableError, errors.AccountStalledError),
    *(errors.PartRefusedError, errors.KeyOccupiedError, errors.ReplicaMissingError),
)
RESULTS = (OK, CUT_OFF, *(kind.code for kind in _ERRORS))


class Figures:
    """The figures of one account. Its counters exist from now on, at zero."""

    def __init__(self, account: str) -> None:
        self._account = account
        for operation in OPERATIONS:
            for result in RESULTS:
                _requests(account, operation, result)

    def counted(self, operation: str) -> "Counted":
        """Measures one request, to the end of reading its answer."""
        return Counted(self._account, operation)

    def timed(self, operation: str) -> Timer:
        """Measures an awaited request, also one that ends with an error."""
        return _seconds(self._account, operation).time()


class Counted:
    """One request under way; `result` may be set before its end."""

    __slots__ = ("_account", "_operation", "result")

    def __init__(self, account: str, operation: str) -> None:
        self.result = OK
        self._account = account
        self._operation = operation

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.result = error.code if isinstance(error, errors.AccountError) else CUT_OFF
        _requests(self._account, self._operation, self.result).inc()


# There are few labels; looking one up needs a lock, and takes longer than counting.
@cache
def _requests(account: str, operation: str, result: str) -> Counter:
    return metrics.S3_REQUESTS.labels(account, operation, result)


@cache
def _seconds(account: str, operation: str) -> Histogram:
    return metrics.S3_SECONDS.labels(account, operation)

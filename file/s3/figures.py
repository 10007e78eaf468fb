"""One account's requests, counted and timed for `/_/metrics`.

A request counts once it has ended, each by itself, also one that is sent again. Its result is `ok`, our error's code,
or `cut_off`: we did not wait for its end, because its time was up or nobody needed it any more.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import Counter, Histogram

from file.logic import metrics
from file.logic.errors import AccountError

OK = "ok"
CUT_OFF = "cut_off"


class Request:
    """One that is under way; `result` may be told before it ends."""

    __slots__ = ("result",)

    def __init__(self) -> None:
        self.result = OK


class Figures:
    """Speaks for one account."""

    def __init__(self, account: str) -> None:
        self._account = account

    @contextmanager
    def counted(self, operation: str) -> Iterator[Request]:
        """Around one request, to the end of what is read of its answer."""
        request = Request()
        try:
            yield request
        except AccountError as error:
            request.result = error.code
            raise
        except BaseException:
            request.result = CUT_OFF
            raise
        finally:
            _requests(self._account, operation, request.result).inc()

    @contextmanager
    def timed(self, operation: str) -> Iterator[None]:
        """Around what is waited for."""
        began = time.perf_counter()
        try:
            yield
        finally:
            _seconds(self._account, operation).observe(time.perf_counter() - began)


# Labels are few; looking one up takes a lock, and longer than counting.
@cache
def _requests(account: str, operation: str, result: str) -> Counter:
    return metrics.S3_REQUESTS.labels(account, operation, result)


@cache
def _seconds(account: str, operation: str) -> Histogram:
    return metrics.S3_SECONDS.labels(account, operation)

"""An unexpected error that the answer of one account causes counts as a failure of that account only.

The ports promise `AccountError` and nothing else (`file/logic/ports.py`). An unexpected answer could raise another
error in our code, which would end the upload, the reading, or the background task for all accounts. Here it is logged
with its traceback, and raised as a failure of the account. The result of the request is then unknown.
"""

import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import structlog

from file.logic.errors import AccountError, AccountFailingError
from file.logic.values import Account

P = ParamSpec("P")
T = TypeVar("T")
_log = structlog.get_logger()


class OfOneAccount(Protocol):
    """An object that belongs to one account."""

    @property
    def account(self) -> Account: ...


S = TypeVar("S", bound=OfOneAccount)


def crashed(account: str, operation: str, error: BaseException) -> AccountFailingError:
    """Logs `error`, and returns the failure of the account to raise instead."""
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    _log.error("account_crashed", account=account, operation=operation, exc_info=error)
    return AccountFailingError(account, operation, "answers what this service cannot work with", unanswered=True)


@contextmanager
def containing(account: str, operation: str) -> Iterator[None]:
    """Raises `AccountError` for every error inside the block."""
    try:
        yield
    except AccountError:
        raise
    except Exception as error:
        raise crashed(account, operation, error) from error


def contained(
    operation: str,
) -> Callable[[Callable[Concatenate[S, P], Awaitable[T]]], Callable[Concatenate[S, P], Coroutine[Any, Any, T]]]:
    """A method of a port that raises `AccountError`, and no other error."""

    def decorate(
        method: Callable[Concatenate[S, P], Awaitable[T]],
    ) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
        @functools.wraps(method)
        async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await method(self, *args, **kwargs)
            except AccountError:
                raise
            except Exception as error:
                raise crashed(self.account.name, operation, error) from error

        return call

    return decorate

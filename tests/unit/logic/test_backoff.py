"""How long a retry waits, and what is retried."""

from functools import partial

import pytest

from file.logic.backoff import full_jitter, retried, spread
from file.logic.errors import AccessRefusedError, AccountError, AccountFailingError


@pytest.mark.parametrize(("attempt", "longest"), [(0, 0.5), (1, 1.0), (2, 2.0), (9, 5.0)])
def test_a_wait_doubles_up_to_its_limit_and_is_drawn_at_random(attempt: int, longest: float) -> None:
    drawn = [full_jitter(attempt, first_seconds=0.5, longest_seconds=5.0) for _ in range(1000)]
    assert 0 <= min(drawn) < longest / 10
    assert longest * 0.9 < max(drawn) <= longest


def test_a_time_is_spread_between_its_shares() -> None:
    drawn = [spread(8.0, 0.5, 1.5) for _ in range(1000)]
    assert 4 <= min(drawn) < 5
    assert 11 < max(drawn) <= 12


class Account:
    """Raises these errors one after the other, and then answers."""

    def __init__(self, *errors: AccountError) -> None:
        self._errors = list(errors)
        self.asked = 0

    async def ask(self) -> str:
        self.asked += 1
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


FAILING, REFUSING = AccountFailingError("A", "head"), AccessRefusedError("A", "head")
three_times = partial(retried, attempts=3, first_seconds=0.001, longest_seconds=0.001)


async def test_a_request_is_retried_when_its_error_is_retryable() -> None:
    account = Account(FAILING, FAILING)
    assert await three_times(account.ask) == "answer"
    assert account.asked == 3


@pytest.mark.parametrize(("error", "asked"), [(FAILING, 3), (REFUSING, 1)])
async def test_the_error_is_raised_when_it_stays(error: AccountError, asked: int) -> None:
    account = Account(*[error] * 4)
    with pytest.raises(type(error)):
        await three_times(account.ask)
    assert account.asked == asked


async def test_the_caller_decides_about_each_error_also_the_last() -> None:
    seen: list[AccountError] = []

    def may_retry(error: AccountError) -> bool:
        seen.append(error)
        return error.retryable

    with pytest.raises(AccountFailingError):
        await three_times(Account(*[FAILING] * 3).ask, may_retry=may_retry)
    assert seen == [FAILING] * 3

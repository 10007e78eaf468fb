"""One account fails, at any request of an upload, in any way: the answer is true, and nothing is lost or left.

`make test` runs the pairwise selection, `make faults` (FAULTS=all) every case.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.faults.matrix import Case, every_case
from tests.faults.oracle import expected, others_that_fail
from tests.faults.pairwise import pairwise
from tests.faults.strikes import Strike
from tests.faults.uploading import assert_told_and_true
from tests.service.conftest import Accounts, Proxied

SELECTIONS: dict[str, Callable[[], Sequence[Case]]] = {"pairwise": pairwise, "all": every_case}


def parameters() -> list[Any]:
    """The selection that FAULTS names."""
    cases = SELECTIONS[os.environ.get("FAULTS") or "pairwise"]()
    return [pytest.param(case, id=str(case)) for case in cases]


@pytest.mark.parametrize("case", parameters())
async def test_the_answer_is_true_and_nothing_is_lost_or_left(accounts: Accounts, proxied: Proxied, case: Case) -> None:
    proxies = {name: proxied(name) for name in (case.account, *others_that_fail(case))}
    await assert_told_and_true(accounts, proxies, [Strike(case, proxies)], expected(case))

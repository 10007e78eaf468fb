"""Two accounts fail at once: the third alone meets the ack `any`, and not `all`."""

import pytest

from tests.faults.matrix import Case, Kind, Place
from tests.faults.oracle import concluded, expected
from tests.faults.strikes import Strike
from tests.faults.uploading import assert_told_and_true
from tests.service.conftest import Accounts, Proxied

# The place, the fault of A, the fault of C.
PAIRS = [
    (Place.PUT, Kind.HANGS, Kind.HANGS),
    (Place.PUT, Kind.RESETS, Kind.DENIED),
    (Place.PUT, Kind.PRECONDITION, Kind.HANGS),
    (Place.PUT, Kind.LOSES_ANSWER, Kind.CONFLICT),  # both have the file after a retry
    (Place.BEGIN, Kind.REFUSES, Kind.THROTTLES),
    (Place.FIRST_PART, Kind.HANGS, Kind.HANGS),
    (Place.FIRST_PART, Kind.RESETS, Kind.DENIED),
    (Place.FIRST_PART, Kind.CLOCK, Kind.DAMAGES),  # both have the file after a retry
    (Place.COMPLETE, Kind.FAILS, Kind.NO_SUCH_UPLOAD),
    (Place.ANSWER, Kind.REFUSES, Kind.DENIED),  # both have the file, and cannot be asked
]


@pytest.mark.parametrize("ack", ["all", "any"])
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
async def test_the_third_account_alone_meets_any_and_not_all(
    accounts: Accounts, proxied: Proxied, pair: tuple[Place, Kind, Kind], ack: str
) -> None:
    place, first, second = pair
    parts = 1 if place is Place.PUT else 3
    cases = {name: Case(name, place, kind, ack, parts) for name, kind in (("A", first), ("C", second))}
    proxies = {name: proxied(name) for name in cases}
    strikes = [Strike(case, proxies) for case in cases.values()]
    singly = {name: expected(Case(name, place, case.kind, "all", parts)) for name, case in cases.items()}
    fails = {name: None if alone.acknowledged else alone.codes[name] for name, alone in singly.items()}
    left = frozenset[str]().union(*(alone.may_be_left for alone in singly.values()))
    outcome = concluded({"A": fails["A"], "B": None, "C": fails["C"]}, ack, left)
    await assert_told_and_true(accounts, proxies, strikes, outcome)

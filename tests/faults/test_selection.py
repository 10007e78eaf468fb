"""The matrix excludes nothing without a reason, the selection misses no pair, and the oracle is right in examples."""

import itertools

import pytest

from tests.faults.matrix import ACCOUNTS, ACKS, PARTS, RULES, Case, Kind, Place, every_case, excluded, why_not
from tests.faults.oracle import expected
from tests.faults.pairwise import pairs_of, pairwise

COMBINATIONS = [Case(*values) for values in itertools.product(ACCOUNTS, Place, Kind, ACKS, PARTS)]


def test_every_two_values_that_can_occur_together_are_in_a_selected_case() -> None:
    can = {pair for case in COMBINATIONS if why_not(case) is None for pair in pairs_of(case)}
    are = {pair for case in pairwise() for pair in pairs_of(case)}
    assert are == can


def test_selection_is_small_and_without_repetitions() -> None:
    assert len(pairwise()) <= 120
    assert len(set(pairwise())) == len(pairwise())
    assert set(pairwise()) <= set(every_case())


def test_every_combination_is_a_case_or_excluded_by_a_rule_that_says_why() -> None:
    assert len(every_case()) + excluded().total() == len(COMBINATIONS)
    assert set(excluded()) == {reason for reason, _ in RULES}  # none is idle


def test_every_value_occurs() -> None:
    values = {value for case in every_case() for value in (case.account, case.place, case.kind, case.ack, case.parts)}
    assert values == {*ACCOUNTS, *Place, *Kind, *ACKS, *PARTS}


@pytest.mark.parametrize(
    ("place", "kind", "statuses"),
    [
        (Place.PUT, Kind.FAILS_ONCE, (201, 201, 201)),
        (Place.PUT, Kind.THROTTLES, (502, 202, 202)),
        (Place.PUT, Kind.PRECONDITION, (409, 202, 202)),
        (Place.PUT, Kind.SLOW, (201, 201, 201)),
        (Place.BEGIN, Kind.LOSES_ANSWER, (201, 201, 201)),
        (Place.FIRST_PART, Kind.SLOW, (502, 202, 202)),
        (Place.LAST_PART, Kind.DAMAGES, (201, 201, 201)),
        (Place.COMPLETE, Kind.ERROR_IN_200, (201, 201, 201)),
        (Place.COMPLETE, Kind.NO_SUCH_UPLOAD, (502, 202, 202)),
        (Place.ANSWER, Kind.LOSES_ANSWER, (201, 201, 201)),
        (Place.ANSWER, Kind.HANGS, (502, 202, 202)),
        (Place.ABORT, Kind.CLOCK, (502, 202, 202)),
    ],
)
def test_the_ack_decides_what_a_fault_means(place: Place, kind: Kind, statuses: tuple[int, ...]) -> None:
    parts = 1 if place is Place.PUT else 3
    assert tuple(expected(Case("B", place, kind, ack, parts)).status for ack in ACKS) == statuses


def test_enough_others_fail_for_a_delete() -> None:
    one = expected(Case("B", Place.DELETE, Kind.HANGS, "all", 1))
    two = expected(Case("B", Place.DELETE, Kind.HANGS, "quorum", 3))
    assert (one.status, one.codes) == (502, {"A": "access_refused", "B": "taken_back", "C": "taken_back"})
    assert (two.status, two.codes) == (502, {"A": "access_refused", "B": "taken_back", "C": "access_refused"})
    assert one.may_be_left == two.may_be_left == {"B"}

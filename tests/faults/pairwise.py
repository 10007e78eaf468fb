"""A selection of cases in which every two values that can occur together do.

Greedy and deterministic: the case that brings most new pairs comes next, of equals the first. Workers of one run have
to agree about it.
"""

from collections.abc import Sequence
from dataclasses import astuple
from functools import cache
from itertools import combinations
from typing import Any

from tests.faults.matrix import Case, every_case

Pair = tuple[tuple[int, Any], tuple[int, Any]]


def pairs_of(case: Case) -> frozenset[Pair]:
    """Each two of its values, with the dimension of each."""
    return frozenset(combinations(enumerate(astuple(case)), 2))


@cache
def pairwise() -> Sequence[Case]:
    """The selection that `make test` runs."""
    left = {case: pairs_of(case) for case in every_case()}
    missing = frozenset[Pair]().union(*left.values())
    chosen = []
    while missing:
        best = max(left, key=lambda case: len(left[case] & missing))  # of equals the first
        missing -= left.pop(best)
        chosen.append(best)
    return tuple(chosen)

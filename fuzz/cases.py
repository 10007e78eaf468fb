"""The cases of a run. Each is a connection: the bytes to write, in which pieces, and how the client ends it.

A case depends only on the seed and its number, so that one case can be sent again without the others. It is drawn by
`random`, not by Hypothesis (which the unit tests use): thousands of connections share one service and its accounts, so
no case can be shrunk, and the same seed must give the same bytes.
"""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from fuzz.grammar import KEPT_ID, Grammar
from fuzz.mutations import OF_BYTES, STRUCTURAL
from fuzz.requests import Request

_INTACT, _STRUCTURAL, _OF_BYTES = 0.22, 0.80, 0.94  # cumulative shares of all cases
_OF_METRICS = 0.02
_ONE_BY_ONE = 400  # the number of bytes that are sent one by one


class Ending(StrEnum):
    """What the client does after its last byte."""

    ANSWERED = "reads the answers"
    CLOSED = "waits until it is closed"
    HALF = "ends its sending and waits"
    LEAVES = "closes"
    RESETS = "resets"


_ENDINGS = {Ending.ANSWERED: 70, Ending.CLOSED: 10, Ending.HALF: 8, Ending.LEAVES: 6, Ending.RESETS: 6}


@dataclass(frozen=True, slots=True)
class Case:
    """`requests`: the number of requests in the case; the service may see more or fewer. `methods`: their methods, if
    the bytes show them. `contents`: the SHA-256 of each body of a PUT that the service must understand, by the
    request's id.
    """

    number: int
    pieces: tuple[bytes, ...]
    requests: int
    ending: Ending
    mutations: tuple[str, ...]
    of_metrics: bool
    methods: tuple[bytes, ...] | None
    contents: Mapping[str, str]

    @property
    def wire(self) -> bytes:
        return b"".join(self.pieces)


class Cases:
    """`ids`: the ids of the files that exist from the start."""

    def __init__(self, seed: int, ids: Sequence[str]) -> None:
        self._seed = seed
        self._ids = [(KEPT_ID % n, file_id.encode()) for n, file_id in enumerate(ids)]

    def case(self, number: int) -> Case:
        chance = random.Random(f"{self._seed} {number}")
        grammar = Grammar(chance, number)
        of_metrics = chance.random() < _OF_METRICS
        make = grammar.of_metrics if of_metrics else grammar.request
        requests = [make() for _ in range(chance.choice((1, 1, 1, 1, 2, 3)))]
        kind = chance.random()
        if _INTACT <= kind < _STRUCTURAL or kind >= _OF_BYTES:
            _change(chance, requests)
        wire = self._with_ids(b"".join(request.wire() for request in requests))
        names = [name for request in requests for name in request.names]
        of_bytes = kind >= _STRUCTURAL
        if of_bytes:
            for mutate in chance.choices(OF_BYTES, k=chance.choice((1, 1, 2, 4))):
                wire = mutate(chance, wire)
                names.append(mutate.__name__)
        return Case(
            number=number,
            pieces=_pieces(chance, wire),
            requests=len(requests),
            ending=chance.choices(list(_ENDINGS), list(_ENDINGS.values()))[0],
            mutations=tuple(names),
            of_metrics=of_metrics,
            methods=tuple(request.method for request in requests) if kind < _INTACT else None,
            contents=_contents(requests) if kind < _INTACT else {},
        )

    def _with_ids(self, wire: bytes) -> bytes:
        for placeholder, file_id in self._ids:
            wire = wire.replace(placeholder, file_id)
        return wire


def _contents(requests: Sequence[Request]) -> dict[str, str]:
    return {
        name.decode(): hashlib.sha256(request.content).hexdigest()
        for request in requests
        if request.method == b"PUT" and (name := request.value(b"x-request-id")) is not None
    }


def _change(chance: random.Random, requests: list[Request]) -> None:
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        request, mutate = chance.choice(requests), chance.choice(STRUCTURAL)
        if request.fields:
            mutate(chance, request)
            request.names.append(mutate.__name__)


def _pieces(chance: random.Random, wire: bytes) -> tuple[bytes, ...]:
    """Mostly one piece; otherwise cut at any place, or the first bytes one by one."""
    way = chance.random()
    if way < 0.75 or len(wire) < 2:
        return (wire,)
    if way < 0.95:
        places = sorted({chance.randrange(len(wire)) for _ in range(chance.choice((1, 2, 5, 20)))})
    else:
        places = list(range(min(_ONE_BY_ONE, len(wire))))
    ends = [0, *places, len(wire)]
    return tuple(wire[first:last] for first, last in pairwise(ends) if last > first)

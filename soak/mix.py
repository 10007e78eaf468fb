"""The plans of the clients, drawn from one seeded generator: sizes, ways, acks, repetitions, disconnects.

The bytes of a file are computed from its number and the seed, so that they need not be kept.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

KiB, MiB = 1024, 1024 * 1024
PART_BYTES = 8 * MiB  # as in the service
LARGEST = 2 * PART_BYTES + MiB
_LARGE_SHARE, _MIDDLE_SHARE, _THREE_PARTS_SHARE = 0.008, 0.02, 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """One upload. The client disconnects after the share `leaves` (0 to 1) of the body, or after `waits` seconds."""

    number: int
    size: int
    form: bool
    ack: str
    idempotent: bool
    leaves: float | None
    waits: float | None
    tries_again: bool
    repeats: bool
    deletes: bool

    @property
    def name(self) -> str:
        """A text that is in the key, whichever way the key is made."""
        return f"soak-{self.number:07}.bin"

    @property
    def large(self) -> bool:
        """Whether the file has several parts."""
        return self.size > PART_BYTES


class Deck(Generic[T]):
    """Draws every card once in random order before it repeats one, so that rare cards are drawn often enough."""

    def __init__(self, chance: random.Random, cards: Sequence[T]) -> None:
        self._chance = chance
        self._cards = list(cards)
        self._left: list[T] = []

    def draw(self) -> T:
        if not self._left:
            self._left = list(self._cards)
            self._chance.shuffle(self._left)
        return self._left.pop()

    def put_back(self, card: T) -> None:
        """Puts back a card whose event did not happen, so that it is drawn again soon."""
        self._left.insert(self._chance.randint(0, len(self._left)), card)


class Mix:
    """The plans, in the order of their numbers. `large_wanted`: how many of the next files must have several parts."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(f"{seed} uploads")
        self._pool = random.Random(f"{seed} bytes").randbytes(LARGEST)
        self._next = 0
        self.large_wanted = 0

    def plan(self) -> Plan:
        chance = self._chance
        size = self._size()
        if self.large_wanted:
            self.large_wanted -= 1
            size = self._large()
        way = chance.random()
        self._next += 1
        return Plan(
            number=self._next,
            size=size,
            form=chance.random() < 0.35,
            ack=chance.choice(("all", "all", "quorum", "quorum", "any")),
            idempotent=chance.random() < 0.25,
            leaves=chance.random() if way < 0.02 else None,
            waits=chance.uniform(0.002, 0.1) if 0.02 <= way < 0.05 else None,
            tries_again=chance.random() < 0.6,
            repeats=chance.random() < 0.1,
            deletes=chance.random() < (0.5 if size > PART_BYTES else 0.1),
        )

    def content(self, plan: Plan) -> bytes:
        start = hashlib.sha256(str(plan.number).encode()).digest()[:4]
        at = int.from_bytes(start, "big") % (LARGEST - plan.size + 1)
        number = b"%016d" % plan.number  # shorter than any file
        return (number + self._pool[at : at + plan.size])[: plan.size]

    def _size(self) -> int:
        kind = self._chance.random()
        if kind < _LARGE_SHARE:
            return self._large()
        if kind < _LARGE_SHARE + _MIDDLE_SHARE:
            return MiB + self._chance.randint(-100, 100)
        return self._chance.randint(KiB, 64 * KiB)

    def _large(self) -> int:
        parts = 2 if self._chance.random() < _THREE_PARTS_SHARE else 1
        return parts * PART_BYTES + self._chance.randint(1, MiB)

"""What the clients do, drawn from one seeded generator: sizes, ways, acks, repetitions, clients that go away.

The bytes of a file come from its number and the seed, so that nobody has to keep them.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

KiB, MiB = 1024, 1024 * 1024
PART_BYTES = 8 * MiB  # the service's own
LARGEST = 2 * PART_BYTES + MiB
_LARGE_SHARE, _MIDDLE_SHARE, _THREE_PARTS_SHARE = 0.008, 0.02, 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """One upload. The client `leaves` after so much of the body, 0 to 1, or `waits` for so many seconds only."""

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
        """Stands in the key, however that is made."""
        return f"soak-{self.number:07}.bin"

    @property
    def large(self) -> bool:
        """Of several parts."""
        return self.size > PART_BYTES


class Deck(Generic[T]):
    """Draws every card once before any is drawn again: what is rare happens often enough, in an order by chance."""

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
        """It did not happen; it comes again before long."""
        self._left.insert(self._chance.randint(0, len(self._left)), card)


class Mix:
    """The plans, in the order of their numbers. `large_wanted` is how many of the next are to be of several parts."""

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
        number = b"%016d" % plan.number  # no file is as short as that
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

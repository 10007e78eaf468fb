"""Uploads with the ack `any`, which share their buckets, ledger, memory and the lanes that outlive the answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from file.logic.fanout.stragglers import Stragglers
from file.logic.memory.budget import Budget
from file.logic.values import Limits, Outcome, Pending, Receipt
from testkit.memorybucket import MemoryBucket
from testkit.memoryledger import MemoryLedger
from tests.flow import send


@dataclass
class Uploads:
    """Account B, the second of `among`, is the slow one."""

    among: list[MemoryBucket]
    limits: Limits
    ledger: MemoryLedger = field(default_factory=MemoryLedger)

    def __post_init__(self) -> None:
        self.stragglers, self.budget = Stragglers(self.ledger, self.limits), Budget(self.limits.memory)
        self.slow = self.among[1]

    async def send(self, content: bytes, **changes: Any) -> Receipt:
        shared = {"ledger": self.ledger, "limits": self.limits, "stragglers": self.stragglers, "budget": self.budget}
        return await send(self.among, content, **{"ack": "any", **shared, **changes})

    async def finish(self, seconds: float = 5) -> None:
        """Wait for the lanes that are under way; account B no longer stalls."""
        self.slow.released.set()
        await self.stragglers.drain(seconds)
        assert (self.budget.used, self.stragglers.under_way) == (0, 0)


def statuses(receipt: Receipt) -> dict[str, str | None]:
    """Per account, the code of a pending outcome or `stored`."""
    return {o.account: o.code if isinstance(o, Pending) else "stored" for o in receipt.outcomes}


def retries(outcomes: Sequence[Outcome]) -> list[tuple[str, str | None, bool]]:
    """Account, code and `retryable` of outcomes that are all pending."""
    pending = [outcome for outcome in outcomes if isinstance(outcome, Pending)]
    assert len(pending) == len(outcomes)
    return [(outcome.account, outcome.code, outcome.retryable) for outcome in pending]

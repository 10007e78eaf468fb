"""The fault proxy for a long run: it counts the faults that were met, and keeps no request that is over."""

from collections import Counter

from testkit.account import StoreAccount
from testkit.faults.exchange import SeenRequest
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.faults.operations import Operation


class SoakProxy(FaultProxy):
    """`met` is by the fault's name; a refusal of connections meets no request and is counted by who orders it."""

    def __init__(self, account: StoreAccount) -> None:
        super().__init__(account)
        self.met: Counter[str] = Counter()

    def take_ended(self) -> list[SeenRequest]:
        """The requests that are over, each handed out once."""
        with self._changed:
            ended = [seen for seen in self._requests if seen.ended is not None]
            self._requests = [seen for seen in self._requests if seen.ended is None]
        return ended

    def _due(self, operation: Operation) -> Fault | None:
        fault = super()._due(operation)
        if fault is not None:
            self.met[fault.name] += 1
        return fault

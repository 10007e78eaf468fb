"""The fault proxy for a long run: counts the faults that requests met, and keeps no finished requests."""

from collections import Counter

from testkit.account import StoreAccount
from testkit.faults.exchange import SeenRequest
from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from testkit.faults.operations import Operation


class SoakProxy(FaultProxy):
    """`met`: the number of requests by name of the fault. Refused connections are counted where they are ordered."""

    def __init__(self, account: StoreAccount) -> None:
        super().__init__(account)
        self.met: Counter[str] = Counter()

    def take_ended(self) -> list[SeenRequest]:
        """The finished requests, each returned once."""
        with self._changed:
            ended = [seen for seen in self._requests if seen.ended is not None]
            self._requests = [seen for seen in self._requests if seen.ended is None]
        return ended

    def _due(self, operation: Operation) -> Fault | None:
        fault = super()._due(operation)
        if fault is not None:
            self.met[fault.name] += 1
        return fault

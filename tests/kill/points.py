"""The requests at which the service is killed."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault
from tests.kill.conftest import DEATH_SECONDS, Victim


@dataclass(frozen=True, order=True)
class Point:
    """A request to an account; `earlier` is the number of equal requests before it."""

    account: str
    operation: str
    part_number: int = 0
    earlier: int = 0

    def name(self, *, comes_after: bool) -> str:
        """The name of the file that is uploaded for this point."""
        moment = "after" if comes_after else "before"
        return f"{moment}-{self.operation}-{self.part_number}-{self.earlier}-{self.account}"

    def kills(self, victim: Victim, *, comes_after: bool, once: threading.Event | None = None) -> Fault:
        """The fault that kills the service there. The request waits for `once`, if it is given."""

        def kill() -> None:
            if once is not None:
                once.wait(DEATH_SECONDS)
            victim.process.kill()

        return Fault.calls(
            kill,
            operation=self.operation,
            part_number=self.part_number or None,
            after=self.earlier,
            comes_after=comes_after,
        )


def points(proxies: Mapping[str, FaultProxy], without: Iterable[str] = ()) -> list[Point]:
    """Every request so far, without these operations."""
    found: list[Point] = []
    for name, proxy in proxies.items():
        met = Counter((r.operation, r.part_number or 0) for r in proxy.requests if r.operation not in without)
        found += [Point(name, *what, earlier) for what, count in met.items() for earlier in range(count)]
    return sorted(found)

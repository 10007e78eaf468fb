"""A run: its plan, its folder, and the scenarios that are measured so far."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.contestants.contestant import Contestant
from bench.figures import Scenario, Work
from bench.plan import Plan
from bench.rounds import Say, run_scenario

ACCOUNTS = 3


@dataclass(slots=True)
class Run:
    """The state of a run. `folder`: the folder of the run, deleted at its end."""

    plan: Plan
    folder: Path
    say: Say
    scenarios: list[Scenario] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def measure(
        self,
        part: str,
        name: str,
        work: Work,
        contestants: Sequence[Contestant],
        *,
        server: str = "null S3",
        accounts: int = ACCOUNTS,
        rounds: int | None = None,
    ) -> Scenario:
        rounds = self.plan.rounds if rounds is None else rounds
        if time.monotonic() - self._began > self.plan.short_after_seconds:
            rounds = 1
        scenario = Scenario(part, name, server, accounts, work, rounds)
        run_scenario(scenario, contestants, self.say)
        self.scenarios.append(scenario)
        return scenario

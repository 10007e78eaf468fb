"""The load on a contestant, its results, and the figures made from them: medians with their range."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB
GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One turn: `at_once` simultaneous uploads of `size`. No more begin after `seconds` or `requests`.

    Uploads that are not done after `limit_seconds` are given up, so that a slow contestant does not lengthen a run.
    """

    size: int
    at_once: int
    seconds: float
    limit_seconds: float
    requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The results of a turn's uploads, as the client measured them. Durations are seconds; None if unknown."""

    operations: int
    seconds: float
    p50: float | None = None
    p99: float | None = None
    max: float | None = None
    refused: int = 0
    lost: int = 0
    unfinished: int = 0
    first_bad: str = ""
    # Of the client itself, if there is no gateway.
    cpu_seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A load, and the CPU and memory of the contestant's processes for it."""

    size: int
    load: Load
    cpu_seconds: float
    peak_bytes: int

    @property
    def gb(self) -> float:
        return self.load.operations * self.size / GB


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the values, the minimum, and the maximum."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, seen: list[float]) -> "Spread | None":
        return cls(statistics.median(seen), min(seen), max(seen)) if seen else None


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


def _per_gb(turn: Turn) -> float | None:
    # The kernel counts in 1/100 s: a smaller value would be noise.
    return turn.cpu_seconds / turn.gb if turn.gb > 0 else None


METRICS: dict[str, Callable[[Turn], float | None]] = {
    "uploads_per_second": lambda turn: turn.load.operations / turn.load.seconds,
    "mb_per_second": lambda turn: turn.gb * 1000 / turn.load.seconds,
    "p50_ms": lambda turn: _milliseconds(turn.load.p50),
    "p99_ms": lambda turn: _milliseconds(turn.load.p99),
    "max_ms": lambda turn: _milliseconds(turn.load.max),
    "cpu_seconds_per_gb": _per_gb,
    "cpu_ms_per_upload": lambda turn: 1000 * turn.cpu_seconds / turn.load.operations,
    "peak_mib": lambda turn: turn.peak_bytes / MiB,
}


@dataclass(slots=True)
class Row:
    """One contestant in one scenario. `failed`: why it has no (more) results."""

    contestant: str
    turns: list[Turn] = field(default_factory=list)
    failed: str | None = None
    idle_bytes: int = 0

    def spread(self, metric: str) -> Spread | None:
        # A turn without a finished upload has no speed, but it has a memory peak.
        counted = [turn for turn in self.turns if turn.load.operations or metric == "peak_mib"]
        return Spread.of([value for value in map(METRICS[metric], counted) if value is not None])

    def median(self, metric: str) -> float | None:
        spread = self.spread(metric)
        return spread.median if spread else None

    @property
    def refused(self) -> int:
        return sum(turn.load.refused + turn.load.lost for turn in self.turns)

    @property
    def first_bad(self) -> str:
        return next((turn.load.first_bad for turn in self.turns if turn.load.first_bad), "")

    def as_json(self) -> dict[str, Any]:
        spreads = {metric: self.spread(metric) for metric in METRICS}
        return {
            "contestant": self.contestant,
            "failed": self.failed,
            "rounds": len(self.turns),
            "operations": sum(turn.load.operations for turn in self.turns),
            "refused": self.refused,
            "unfinished": sum(turn.load.unfinished for turn in self.turns),
            "first_bad": self.first_bad,
            "idle_mib": round(self.idle_bytes / MiB, 1),
            "figures": {
                metric: {"median": spread.median, "min": spread.least, "max": spread.most}
                for metric, spread in spreads.items()
                if spread is not None
            },
        }


@dataclass(slots=True)
class Scenario:
    """The same work for several contestants, against the same servers, in rounds."""

    part: str
    name: str
    server: str
    accounts: int
    work: Work
    rounds: int
    rows: list[Row] = field(default_factory=list)

    def row(self, contestant: str) -> Row | None:
        return next((row for row in self.rows if row.contestant == contestant), None)

    def median(self, contestant: str, metric: str) -> float | None:
        row = self.row(contestant)
        return row.median(metric) if row else None

    def as_json(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "name": self.name,
            "server": self.server,
            "accounts": self.accounts,
            "size": self.work.size,
            "at_once": self.work.at_once,
            "seconds": self.work.seconds,
            "rounds": self.rounds,
            "rows": [row.as_json() for row in self.rows],
        }

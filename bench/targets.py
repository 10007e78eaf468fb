"""The speed to reach: each target with the figure of this run. It is printed and does not change the exit code."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.contestants.ours import FORM
from bench.contestants.rclone import SPARED
from bench.figures import GiB, MiB, Scenario
from bench.growth import accounts_name
from bench.plan import SMALL, size_name
from bench.table import aligned, ratio

UPLOAD_MEMORY_MIB = 192
# The memory of a connection, as docs/operations.md says.
CONNECTION_MIB = 1


@dataclass(frozen=True, slots=True)
class Target:
    """`demand`: None for a figure without a target; `figure`: None if it was not measured."""

    name: str
    figure: float | None
    demand: float | None = None
    is_limit: bool = False  # the target is a maximum, not a minimum
    unit: str = ""

    @property
    def is_met(self) -> bool | None:
        if self.figure is None or self.demand is None:
            return None
        return self.figure <= self.demand if self.is_limit else self.figure >= self.demand

    def as_json(self) -> dict[str, Any]:
        bound = "at most" if self.is_limit else "at least"
        return {"name": self.name, "figure": self.figure, "demand": self.demand, "bound": bound, "met": self.is_met}


def targets_of(scenarios: Sequence[Scenario]) -> list[Target]:
    found = _Found(scenarios)
    lines = _small(found)
    for size in (5 * MiB, 256 * MiB):
        speed = found.over("sizes", size, "mb_per_second", "rclone")
        lines.append(Target(f"{size_name(size)}: MB/s over rclone's", speed, 3.5))
    for size, demand in ((5 * MiB, 6), (256 * MiB, 7), (GiB, 7)):
        lines.append(Target(f"{size_name(size)}: CPU s/GB, rclone's over ours", found.saved(size), demand))
    lines += [*_memory(found), *_growth(found), *_stated(found)]
    return lines


def in_short(scenarios: Sequence[Scenario]) -> list[str]:
    """The two main ratios, as sentences. A ratio that was not measured is left out."""
    found = _Found(scenarios)
    small, saved = found.small_over(SPARED), found.saved(5 * MiB)
    lines = []
    if small is not None:
        lines.append(
            f"  4 KiB, 16 at once: {small:.2f} times the uploads/s of rclone that is told not to look (no_head)"
        )
    if saved is not None:
        lines.append(f"  5 MiB, 4 at once: rclone needs {saved:.2f} times our CPU seconds per GB")
    return ["In short:", *lines] if lines else []


class _Found:
    """Looks up figures by contestant and load; None if one was not measured."""

    def __init__(self, scenarios: Sequence[Scenario]) -> None:
        self._scenarios = scenarios

    def scenario(self, part: str, size: int | None = None, at_once: int | None = None) -> Scenario | None:
        fits: Callable[[Scenario], bool] = lambda each: (  # noqa: E731 - one line of three conditions
            each.part == part and size in (None, each.work.size) and at_once in (None, each.work.at_once)
        )
        return next(filter(fits, self._scenarios), None)

    def median(self, part: str, size: int, metric: str, who: str, *, at_once: int | None = None) -> float | None:
        scenario = self.scenario(part, size, at_once)
        return scenario.median(who, metric) if scenario else None

    def over(self, part: str, size: int, metric: str, whom: str, *, at_once: int | None = None) -> float | None:
        """Our figure divided by theirs."""
        ours = self.median(part, size, metric, "ours", at_once=at_once)
        return ratio(ours, self.median(part, size, metric, whom, at_once=at_once))

    def small_over(self, whom: str, *, part: str = "small") -> float | None:
        """Our uploads/s divided by theirs, for 4 KiB, 16 at once."""
        return self.over(part, SMALL, "uploads_per_second", whom, at_once=16)

    def saved(self, size: int) -> float | None:
        """The CPU seconds per GB of rclone divided by ours."""
        return ratio(1.0, self.over("sizes", size, "cpu_seconds_per_gb", "rclone"))


def _small(found: _Found) -> list[Target]:
    cost = found.median("small", SMALL, "cpu_ms_per_upload", "ours", at_once=16)
    name = "4 KiB, 16 at once"
    return [
        Target(f"{name}: uploads/s over rclone's", found.small_over("rclone"), 3),
        Target(f"{name}: uploads/s over rclone's with no_head", found.small_over(SPARED), 1.5),
        Target(f"{name}, TLS: uploads/s over rclone's with no_head", found.small_over(SPARED, part="tls"), 1.5),
        Target(f"{name}: CPU of an upload", cost, 0.7, True, " ms"),
        Target(f"{name}: uploads/s of POST /upload over PUT", ratio(1.0, found.small_over(FORM)), 0.9),
    ]


def _memory(found: _Found) -> list[Target]:
    scenario = found.scenario("memory")
    row = scenario.row("ours") if scenario else None
    peak = row.median("peak_mib") if row else None
    bound = None
    if scenario and row:
        bound = row.idle_bytes / MiB + UPLOAD_MEMORY_MIB + scenario.work.at_once * CONNECTION_MIB
    return [
        Target("64 uploads of 64 MiB at once: peak memory", peak, 400, True, " MiB"),
        Target("   idle + UPLOAD_MEMORY + connections x 1 MiB", peak, bound, True, " MiB"),
    ]


def _growth(found: _Found) -> list[Target]:
    one, eight = (found.median("delay", 5 * MiB, "p50_ms", accounts_name("ours", count), at_once=1) for count in (1, 8))
    p50 = found.median("delay", SMALL, "p50_ms", "ours", at_once=1)
    full, name = None, "files in the ledger"
    ledger = found.scenario("ledger")
    if ledger is not None and len(ledger.rows) > 1:
        empty, fullest = ledger.rows[0], ledger.rows[-1]
        full = ratio(fullest.median("uploads_per_second"), empty.median("uploads_per_second"))
        name = fullest.contestant.removeprefix("ours, ")
    return [
        Target("50 ms an answer, 5 MiB: time to 8 accounts over 1", ratio(eight, one), 1.3, True),
        Target("50 ms an answer, 4 KiB to 3 accounts: p50", p50, 60, True, " ms"),
        Target(f"{name}: uploads/s over an empty one's", full, 0.9),
    ]


def _stated(found: _Found) -> list[Target]:
    lines = []
    for whom in ("first design", "boto3 kept, threads"):
        small = found.over("small", SMALL, "uploads_per_second", whom, at_once=16)
        large = found.over("sizes", 5 * MiB, "mb_per_second", whom)
        lines += [Target(f"4 KiB, 16 at once: uploads/s over {whom}", small)]
        lines += [Target(f"5 MiB: MB/s over {whom}", large)]
    return lines


def target_lines(targets: Sequence[Target]) -> list[str]:
    verdicts = {True: "met", False: "MISSED", None: ""}
    rows = [["The speed to reach", "demanded", "seen", ""]]
    for target in targets:
        demand = (
            "" if target.demand is None else f"{'<=' if target.is_limit else '>='} {target.demand:.4g}{target.unit}"
        )
        seen = "not measured" if target.figure is None else f"{target.figure:.2f}{target.unit}"
        rows.append([target.name, demand, seen, verdicts[target.is_met]])
    return aligned(rows)

"""The tables: a block for each scenario, medians with their range, and the ratio of our speed to the others."""

from collections.abc import Iterable
from typing import Any

from bench.figures import MiB, Row, Scenario, Spread
from bench.rounds import reason_in

Cell = str
# The heading, the metric, and the number of decimals.
Column = tuple[str, str, int]
_SMALL: tuple[Column, ...] = (
    ("uploads/s", "uploads_per_second", 0),
    ("p50 ms", "p50_ms", 1),
    ("p99 ms", "p99_ms", 1),
    ("CPU ms each", "cpu_ms_per_upload", 2),
    ("peak MiB", "peak_mib", 0),
)
_LARGE: tuple[Column, ...] = (
    ("MB/s", "mb_per_second", 0),
    ("p50 ms", "p50_ms", 0),
    ("CPU s/GB", "cpu_seconds_per_gb", 2),
    ("peak MiB", "peak_mib", 0),
)


def ours_in(scenario: Scenario) -> Row | None:
    """The contestant with which the others are compared: the first of ours."""
    return scenario.row("ours") or next((row for row in scenario.rows if row.contestant.startswith("ours")), None)


def ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def tables(scenarios: Iterable[Scenario]) -> list[str]:
    lines: list[str] = []
    for scenario in scenarios:
        title = f"{scenario.name} ({scenario.part}; {scenario.server}, up to {scenario.accounts} accounts)"
        lines += ["", title, *_block(scenario)]
    return lines


def _block(scenario: Scenario) -> list[str]:
    columns = _SMALL if scenario.work.size < MiB else _LARGE
    reference = ours_in(scenario)
    head = ["", *(heading for heading, _, _ in columns), "ours is"]
    body = []
    notes = []
    for row in scenario.rows:
        figures = [_told(row.spread(metric), digits) for _, metric, digits in columns]
        # A contestant with a counterpart (`rclone, 8 accounts`) is compared with that one.
        named = row.contestant.replace("rclone", "ours")
        counterpart = (scenario.row(named) if named.startswith("ours") else None) or reference
        body.append([row.contestant, *figures, _compared(counterpart, row, columns[0][1])])
        if row.failed is not None:
            notes.append(f"    {row.contestant}: {row.failed}")
        elif row.refused:
            notes.append(f"    {row.contestant}: {row.refused} uploads failed, first {reason_in(row.first_bad)}")
    return [*aligned([head, *body]), *notes]


def _told(spread: Spread | None, digits: int) -> Cell:
    if spread is None:
        return "-"
    middle = f"{spread.median:,.{digits}f}"
    if spread.least == spread.most:
        return middle
    return f"{middle} ({spread.least:,.{digits}f}..{spread.most:,.{digits}f})"


def _compared(reference: Row | None, row: Row, metric: str) -> Cell:
    if reference is None or row.contestant.startswith("ours"):
        return ""
    factor = ratio(reference.median(metric), row.median(metric))
    return f"x {factor:.2f}" if factor is not None else ""


def aligned(rows: list[list[Cell]]) -> list[str]:
    """The first column is left-aligned, figures are right-aligned."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  " + "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]  # fmt: skip


def machine_lines(machine: dict[str, Any]) -> list[str]:
    theirs = ", ".join(f"{name} {version}" for name, version in machine["theirs"].items())
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['kernel']}, "
        f"Python {machine['python']} ({machine['python_pgo']}); commit {machine['commit']}; "
        f"load before {machine['load_before']}",
        f"SHA-256 on one core: {machine['sha256_mb_per_second']:,} MB/s",
        f"beside: {theirs}",
    ]

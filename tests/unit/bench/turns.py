"""Turns, rows and scenarios with given figures."""

from bench.figures import Load, MiB, Row, Scenario, Turn, Work


def turn(
    *,
    operations: int = 10,
    seconds: float = 1.0,
    size: int = 5 * MiB,
    cpu_seconds: float = 0.0,
    peak_bytes: int = 0,
    p50: float | None = None,
    refused: int = 0,
    first_bad: str = "",
) -> Turn:
    load = Load(operations=operations, seconds=seconds, p50=p50, refused=refused, first_bad=first_bad)
    return Turn(size=size, load=load, cpu_seconds=cpu_seconds, peak_bytes=peak_bytes)


def row(contestant: str, *turns: Turn, failed: str | None = None, idle_bytes: int = 0) -> Row:
    return Row(contestant, list(turns), failed=failed, idle_bytes=idle_bytes)


def scenario(part: str, size: int, at_once: int, *rows: Row) -> Scenario:
    work = Work(size=size, at_once=at_once, seconds=1.0, limit_seconds=5.0)
    return Scenario(part, f"{size} B, {at_once} at once", "null S3", 3, work, rounds=2, rows=list(rows))

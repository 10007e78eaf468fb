"""What is measured: the scenarios of each part, in the whole run and in the quick one.

The quick run has the same parts with fewer sizes, rounds, and seconds. It shows that everything works, and the order
of magnitude. Read its figures with their range.
"""

from dataclasses import dataclass

from bench.figures import GiB, KiB, MiB, Work

SMALL = 4 * KiB
MOST_LIMIT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The sizes of a run. `seconds`: how long a turn begins new uploads."""

    rounds: int
    seconds: float
    limit_seconds: float
    small_at_once: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]  # a size, and the number at once
    memory_limit_seconds: float
    seaweed_sizes: tuple[tuple[int, int], ...]
    account_counts: tuple[int, ...]
    client_counts: tuple[int, ...]
    ledger_files: tuple[int, ...]
    files_before: tuple[int, ...]
    slow_size: int
    slow_limit_seconds: float
    direct_ways: tuple[bool, ...]  # in turn and at once
    short_after_seconds: float  # from this number on a scenario has one round
    is_quick: bool = False

    def work(self, size: int, at_once: int, *, requests: int | None = None) -> Work:
        """A turn of this size: large files have a fixed number instead of a time, so that a turn has whole uploads."""
        if requests is None and size >= 256 * MiB:
            requests = at_once
        return Work(
            size=size,
            at_once=at_once,
            seconds=self.seconds,
            limit_seconds=max(self.limit_seconds, min(MOST_LIMIT_SECONDS, size * at_once / (20 * MiB))),
            requests=requests,
        )


WHOLE = Plan(
    rounds=3,
    seconds=2.0,
    limit_seconds=15.0,
    small_at_once=(1, 16, 64),
    sizes=((MiB, 4), (5 * MiB, 4), (64 * MiB, 4), (256 * MiB, 2), (GiB, 1)),
    memory_limit_seconds=180.0,
    seaweed_sizes=((SMALL, 16), (5 * MiB, 4), (64 * MiB, 4)),
    account_counts=(1, 2, 4, 8, 16),
    client_counts=(1, 4, 16, 64, 256),
    ledger_files=(0, 1_000_000, 5_000_000),
    files_before=(0, 10_000, 20_000),
    slow_size=5 * MiB,
    slow_limit_seconds=30.0,
    direct_ways=(False, True),
    short_after_seconds=4 * 3600.0,
)
QUICK = Plan(
    rounds=2,
    seconds=0.6,
    limit_seconds=3.0,
    small_at_once=(16,),
    sizes=((5 * MiB, 4), (256 * MiB, 1)),
    memory_limit_seconds=7.0,
    seaweed_sizes=((SMALL, 16),),
    account_counts=(1, 8),
    client_counts=(256,),
    ledger_files=(0, 50_000),
    files_before=(2_000,),
    slow_size=MiB,
    slow_limit_seconds=3.5,
    direct_ways=(True,),
    short_after_seconds=90.0,
    is_quick=True,
)


def size_name(size: int) -> str:
    for unit, name in ((GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size} B"


def work_name(work: Work) -> str:
    return f"{size_name(work.size)}, {work.at_once} at once"

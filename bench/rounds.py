"""One scenario: all contestants take turns against the same servers.

All are started before the first turn and are idle during the turns of the others. So each is equally warm in all its
turns, and changes of the machine affect all alike. (None of them used measurable CPU while idle.) They are started
again for each scenario, so that a memory peak belongs to its scenario. A contestant that fails leaves the scenario,
with its reason; the others go on.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack

from bench.contestants.contestant import Contestant
from bench.errors import ContestantError
from bench.figures import KiB, MiB, Row, Scenario, Turn, Work
from bench.processes import Watch, memory_bytes, tree

_WARM_UP_SIZE = 5 * MiB

Say = Callable[[str], None]


def run_scenario(scenario: Scenario, contestants: Sequence[Contestant], say: Say) -> None:
    """Fills `scenario.rows`."""
    scenario.rows = [Row(contestant.name) for contestant in contestants]
    pairs = list(zip(contestants, scenario.rows, strict=True))
    say(f"{scenario.part}: {scenario.name}")
    with ExitStack() as running:
        for contestant, row in pairs:
            running.callback(contestant.stop)
            _begin(contestant, row, scenario.work)
            if row.failed is not None:
                say(f"  {contestant.name}: {row.failed}")
        for number in range(scenario.rounds):
            # Every second round is reversed, so that no contestant always follows the same one.
            for contestant, row in pairs if number % 2 == 0 else reversed(pairs):
                if row.failed is None:
                    _take_turn(contestant, row, scenario.work, is_last=number + 1 == scenario.rounds)
                    say(f"  round {number + 1} of {scenario.rounds}: {contestant.name}: {_told(row)}")
        for row in scenario.rows:
            if row.failed is None and not any(turn.load.operations for turn in row.turns):
                row.failed = "nothing was finished in time"


def _begin(contestant: Contestant, row: Row, work: Work) -> None:
    if contestant.most_size is not None and work.size > contestant.most_size:
        row.failed = f"not asked: it takes files of at most {contestant.most_size // MiB} MiB"
        return
    try:
        _start(contestant, row, work)
    except ContestantError as error:
        row.failed = str(error)


def _start(contestant: Contestant, row: Row, work: Work) -> None:
    contestant.start()
    # Idle memory is measured after one small upload, which does all one-time work.
    contestant.warm_up(Work(size=4 * KiB, at_once=1, seconds=1.0, limit_seconds=work.limit_seconds, requests=1))
    row.idle_bytes = memory_bytes(tree(contestant.process_ids()))
    contestant.warm_up(
        Work(
            size=min(work.size, _WARM_UP_SIZE),
            at_once=work.at_once,
            seconds=min(1.0, work.seconds),
            limit_seconds=work.limit_seconds,
            requests=work.at_once * (20 if work.size < MiB else 2),
        )
    )


def _take_turn(contestant: Contestant, row: Row, work: Work, *, is_last: bool) -> None:
    try:
        with Watch(contestant.process_ids()) as watch:
            load = contestant.upload(work)
        row.turns.append(
            Turn(
                size=work.size,
                load=load,
                cpu_seconds=watch.cpu_seconds + load.cpu_seconds,
                peak_bytes=watch.peak_bytes + load.peak_bytes,
            )
        )
        if load.operations == 0 and load.first_bad:
            row.failed = reason_in(load.first_bad)
        elif load.unfinished:
            # Its unfinished uploads would run in the turn of another contestant.
            contestant.stop()
            if not is_last:
                _start(contestant, row, work)
    except ContestantError as error:
        row.failed = str(error)


def reason_in(bad: str) -> str:
    """An answer that was not 2xx in one line: its status and its body."""
    head, _, body = bad.partition("\r\n\r\n")
    return " ".join(f"{head.partition(chr(13))[0]} {body}".split())[:200]


def _told(row: Row) -> str:
    if row.failed is not None:
        return f"FAILED: {row.failed}"
    load = row.turns[-1].load
    rate = load.operations / load.seconds if load.operations else 0.0
    per_second = (
        f"{rate:,.0f} uploads/s" if row.turns[-1].size < MiB else f"{rate * row.turns[-1].size / 1e6:,.0f} MB/s"
    )
    beside = "".join(
        f", {count} {what}"
        for count, what in (
            (load.refused, "refused"),
            (load.lost, "without an answer"),
            (load.unfinished, "given up"),
        )
        if count
    )
    return f"{per_second} ({load.operations} uploads{beside})"

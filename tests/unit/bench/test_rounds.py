"""The rounds: the order of contestants, which of them are left out, and that all are stopped."""

import pytest

from bench.contestants.contestant import Contestant
from bench.errors import ContestantError
from bench.figures import Load, MiB, Scenario, Work
from bench.rounds import reason_in, run_scenario
from tests.unit.bench.turns import scenario


@pytest.fixture
def diary() -> list[str]:
    """What the contestants did, in order."""
    return []


class Recorded(Contestant):
    """Writes each call into the diary."""

    def __init__(
        self,
        name: str,
        diary: list[str],
        *loads: Load | BaseException,
        starts: bool = True,
        most_size: int | None = None,
    ) -> None:
        self.name = name
        self._diary = diary
        self._loads = iter(loads)
        self._starts = starts
        self._most_size = most_size

    @property
    def most_size(self) -> int | None:
        return self._most_size

    def start(self) -> None:
        if not self._starts:
            raise ContestantError("it did not start")
        self._diary.append(f"start {self.name}")

    def stop(self) -> None:
        self._diary.append(f"stop {self.name}")

    def process_ids(self) -> list[int]:
        return []

    def warm_up(self, work: Work) -> None:
        if self._diary[-1] != f"warm up {self.name}":  # it is done twice: a small upload, then one like the turn's
            self._diary.append(f"warm up {self.name}")

    def upload(self, work: Work) -> Load:
        self._diary.append(f"upload {self.name}")
        load = next(self._loads, Load(operations=5, seconds=1.0))
        if isinstance(load, BaseException):
            raise load
        return load


def run(*contestants: Recorded, size: int = MiB) -> Scenario:
    measured = scenario("sizes", size, 1)
    run_scenario(measured, contestants, lambda line: None)
    return measured


def uploads_in(diary: list[str]) -> list[str]:
    return [line.removeprefix("upload ") for line in diary if line.startswith("upload ")]


def test_the_order_is_reversed_when_a_round_is_over(diary: list[str]) -> None:
    measured = run(*(Recorded(name, diary) for name in "abc"))
    assert uploads_in(diary) == ["a", "b", "c", "c", "b", "a"]
    assert [len(row.turns) for row in measured.rows] == [2, 2, 2]
    assert diary[-3:] == ["stop c", "stop b", "stop a"]
    assert diary.index("warm up c") < diary.index("upload a")


def test_the_others_continue_when_one_does_not_start(diary: list[str]) -> None:
    measured = run(Recorded("a", diary, starts=False), Recorded("b", diary))
    assert uploads_in(diary) == ["b", "b"]
    assert [row.failed for row in measured.rows] == ["it did not start", None]


NO_PAGE = Load(operations=0, seconds=0, refused=1, first_bad="HTTP/1.1 500 No\r\nA: b\r\n\r\n<a>\n<b>")


@pytest.mark.parametrize(
    ("load", "reason"), [(ContestantError("gone"), "gone"), (NO_PAGE, "HTTP/1.1 500 No <a> <b>")], ids=["gone", "500"]
)
def test_the_others_continue_when_one_fails_in_its_turn(
    load: Load | BaseException, reason: str, diary: list[str]
) -> None:
    measured = run(Recorded("a", diary, load), Recorded("b", diary))
    assert uploads_in(diary) == ["a", "b", "b"]
    assert [row.failed for row in measured.rows] == [reason, None]


def test_a_contestant_is_restarted_when_uploads_remained(diary: list[str]) -> None:
    run(Recorded("a", diary, Load(operations=1, seconds=1.0, unfinished=3)))
    assert diary == ["start a", "warm up a", "upload a", "stop a", "start a", "warm up a", "upload a", "stop a"]


def test_the_row_says_so_when_a_contestant_never_finishes_an_upload(diary: list[str]) -> None:
    nothing = Load(operations=0, seconds=0, unfinished=4)
    [row] = run(Recorded("a", diary, nothing, nothing)).rows
    assert (row.failed, len(row.turns)) == ("nothing was finished in time", 2)


def test_a_contestant_has_no_turn_when_the_file_is_too_large_for_it(diary: list[str]) -> None:
    [row] = run(Recorded("a", diary, most_size=MiB), size=2 * MiB).rows
    assert uploads_in(diary) == []
    assert row.failed == "not asked: it takes files of at most 1 MiB"


def test_all_are_stopped_when_the_run_is_interrupted(diary: list[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Recorded("a", diary), Recorded("b", diary, KeyboardInterrupt()))
    assert diary[-2:] == ["stop b", "stop a"]


def test_a_reason_is_one_line_when_the_answer_has_more() -> None:
    assert reason_in("HTTP/1.1 502 Bad\r\nX: y\r\n\r\n{\n 1\n}") == "HTTP/1.1 502 Bad { 1 }"
    assert reason_in("the connection ended") == "the connection ended"

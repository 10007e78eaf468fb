"""The rounds: who comes when, who is out, and that everybody is stopped."""

import pytest

from bench.contestants.contestant import Contestant
from bench.errors import ContestantError
from bench.figures import Load, MiB, Work
from bench.rounds import reason_in, run_scenario
from tests.unit.bench.turns import scenario


class Recorded(Contestant):
    """Does as it is told, and writes down what was asked of it."""

    def __init__(self, name: str, diary: list[str], *, loads: list[Load | BaseException] | None = None) -> None:
        self.name = name
        self._diary = diary
        self._loads = iter(loads or [])
        self.refuses_to_start = False
        self.takes_at_most: int | None = None

    @property
    def most_size(self) -> int | None:
        return self.takes_at_most

    def start(self) -> None:
        if self.refuses_to_start:
            raise ContestantError("it does not want to")
        self._diary.append(f"start {self.name}")

    def stop(self) -> None:
        self._diary.append(f"stop {self.name}")

    def process_ids(self) -> list[int]:
        return []

    def warm_up(self, work: Work) -> None:
        if self._diary[-1] != f"warm up {self.name}":  # it is done twice: one small upload, then like the turn's
            self._diary.append(f"warm up {self.name}")

    def upload(self, work: Work) -> Load:
        self._diary.append(f"upload {self.name}")
        load = next(self._loads, Load(operations=5, seconds=1.0))
        if isinstance(load, BaseException):
            raise load
        return load


def uploads_in(diary: list[str]) -> list[str]:
    return [line.removeprefix("upload ") for line in diary if line.startswith("upload ")]


def test_the_order_turns_round_when_a_round_is_over() -> None:
    diary: list[str] = []
    measured = scenario("sizes", MiB, 1)
    run_scenario(measured, [Recorded(name, diary) for name in "abc"], lambda line: None)
    assert uploads_in(diary) == ["a", "b", "c", "c", "b", "a"]
    assert [len(row.turns) for row in measured.rows] == [2, 2, 2]
    assert diary[-3:] == ["stop c", "stop b", "stop a"]
    assert diary.index("warm up c") < diary.index("upload a")


def test_the_others_go_on_when_one_does_not_start() -> None:
    diary: list[str] = []
    contestants = [Recorded(name, diary) for name in "ab"]
    contestants[0].refuses_to_start = True
    measured = scenario("sizes", MiB, 1)
    run_scenario(measured, contestants, lambda line: None)
    assert uploads_in(diary) == ["b", "b"]
    assert [row.failed for row in measured.rows] == ["it does not want to", None]


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        (ContestantError("gone"), "gone"),
        (
            Load(operations=0, seconds=0, refused=1, first_bad="HTTP/1.1 500 No\r\nA: b\r\n\r\n<a>\n<b>"),
            "HTTP/1.1 500 No <a> <b>",
        ),
    ],
)
def test_the_others_go_on_when_one_fails_in_its_turn(load: Load | BaseException, reason: str) -> None:
    diary: list[str] = []
    measured = scenario("sizes", MiB, 1)
    run_scenario(measured, [Recorded("a", diary, loads=[load]), Recorded("b", diary)], lambda line: None)
    assert uploads_in(diary) == ["a", "b", "b"]
    assert [row.failed for row in measured.rows] == [reason, None]


def test_one_is_started_anew_when_it_was_left_with_uploads() -> None:
    diary: list[str] = []
    slow = Recorded("a", diary, loads=[Load(operations=1, seconds=1.0, unfinished=3)])
    run_scenario(scenario("sizes", MiB, 1), [slow], lambda line: None)
    assert diary == ["start a", "warm up a", "upload a", "stop a", "start a", "warm up a", "upload a", "stop a"]


def test_it_is_said_so_when_one_never_finishes_anything() -> None:
    nothing: list[Load | BaseException] = [Load(operations=0, seconds=0, unfinished=4)] * 2
    measured = scenario("sizes", MiB, 1)
    run_scenario(measured, [Recorded("a", [], loads=nothing)], lambda line: None)
    assert measured.rows[0].failed == "nothing was finished in time"
    assert len(measured.rows[0].turns) == 2


def test_one_is_not_asked_when_the_file_is_too_large_for_it() -> None:
    diary: list[str] = []
    contestant = Recorded("a", diary)
    contestant.takes_at_most = MiB
    measured = scenario("sizes", 2 * MiB, 1)
    run_scenario(measured, [contestant], lambda line: None)
    assert uploads_in(diary) == []
    assert measured.rows[0].failed == "not asked: it takes files of at most 1 MiB"


def test_all_are_stopped_when_the_run_is_interrupted() -> None:
    diary: list[str] = []
    contestants = [Recorded("a", diary), Recorded("b", diary, loads=[KeyboardInterrupt()])]
    with pytest.raises(KeyboardInterrupt):
        run_scenario(scenario("sizes", MiB, 1), contestants, lambda line: None)
    assert diary[-2:] == ["stop b", "stop a"]


def test_a_reason_is_one_line_when_the_answer_has_more() -> None:
    assert reason_in("HTTP/1.1 502 Bad\r\nX: y\r\n\r\n{\n 1\n}") == "HTTP/1.1 502 Bad { 1 }"
    assert reason_in("the connection ended") == "the connection ended"

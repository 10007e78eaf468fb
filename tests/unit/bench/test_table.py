"""The printed tables with their ratios, and the targets."""

import pytest

from bench.contestants.ours import FORM
from bench.contestants.rclone import SPARED
from bench.figures import KiB, MiB, Scenario
from bench.growth import accounts_name, ledger_name
from bench.plan import size_name
from bench.table import aligned, ratio, tables
from bench.targets import Target, in_short, target_lines, targets_of
from tests.unit.bench.turns import row, scenario, turn


def test_columns_have_one_width_when_lines_are_aligned() -> None:
    assert aligned([["a", "speed"], ["longer", "7"]]) == ["  a       speed", "  longer      7"]


def test_there_is_no_ratio_when_a_figure_is_missing() -> None:
    assert ratio(6.0, 2.0) == 3.0
    assert ratio(None, 2.0) is None
    assert ratio(6.0, None) is None
    assert ratio(6.0, 0.0) is None


@pytest.mark.parametrize(("size", "name"), [(4 * KiB, "4 KiB"), (5 * MiB, "5 MiB"), (1024 * MiB, "1 GiB"), (9, "9 B")])
def test_a_size_is_named_by_its_unit_when_it_is_shown(size: int, name: str) -> None:
    assert size_name(size) == name


def test_each_peer_has_its_ratio_and_its_reason_when_a_scenario_is_shown() -> None:
    measured = scenario(
        *("sizes", 5 * MiB, 4),
        row("ours", turn(operations=30), turn(operations=50)),
        row("rclone", turn(operations=10)),
        row("first design", failed="it did not start"),
        row("boto3", turn(operations=20, refused=2, first_bad="HTTP/1.1 503 Busy\r\nA: b\r\n\r\nlater")),
    )
    lines = tables([measured])
    ours, rclone, boto3 = (
        next(line for line in lines if line.startswith(f"  {name}")) for name in ("ours", "rclone", "boto3")
    )
    assert "210 (157..262)" in ours
    assert rclone.endswith("x 4.00")
    assert boto3.endswith("x 2.00")
    assert "    first design: it did not start" in lines
    assert "    boto3: 2 uploads failed, first HTTP/1.1 503 Busy later" in lines


def test_a_peer_is_compared_with_its_counterpart_when_there_is_one() -> None:
    measured = (("ours", 1, 90), ("ours", 8, 60), ("rclone", 8, 20))
    rows = [row(accounts_name(who, count), turn(operations=operations)) for who, count, operations in measured]
    assert tables([scenario("accounts", 5 * MiB, 1, *rows)])[-1].endswith("x 3.00")


def fast() -> list[Scenario]:
    """Every target is just met."""
    small, large = 4 * KiB, 5 * MiB
    counts = {"rclone": 100, SPARED: 200, FORM: 300, "first design": 4, "boto3 kept, threads": 80}
    others = [row(who, turn(operations=n, size=small)) for who, n in counts.items()]
    return [
        scenario("small", small, 64, row("ours", turn(operations=1, size=small))),
        scenario("small", small, 16, row("ours", turn(operations=320, size=small, cpu_seconds=0.2)), *others),
        scenario(
            "tls", small, 16,
            row("ours", turn(operations=152, size=small)), row(SPARED, turn(operations=100, size=small)),
        ),
        scenario(
            "sizes", large, 4,
            row("ours", turn(operations=360, cpu_seconds=1.0)), row("rclone", turn(operations=100, cpu_seconds=2.0)),
        ),
        scenario("memory", 64 * MiB, 64, row("ours", turn(peak_bytes=290 * MiB), idle_bytes=90 * MiB)),
        scenario(
            "delay", large, 1,
            row(accounts_name("ours", 1), turn(p50=0.100)), row(accounts_name("ours", 8), turn(p50=0.125)),
        ),
        scenario("delay", small, 1, row("ours", turn(p50=0.059, size=small))),
        scenario(
            "ledger", small, 16,
            row(ledger_name(0), turn(operations=100)), row(ledger_name(5_000_000), turn(operations=95)),
        ),
    ]  # fmt: skip


def judged(targets: list[Target], words: str) -> tuple[float | None, bool | None]:
    found = next(target for target in targets if words in target.name)
    return found.figure, found.is_met


@pytest.mark.parametrize(
    ("words", "figure"),
    [
        ("4 KiB, 16 at once: uploads/s over rclone's", 3.2),
        ("4 KiB, 16 at once: uploads/s over rclone's with no_head", 1.6),
        ("4 KiB, 16 at once, TLS: uploads/s over rclone's with no_head", 1.52),
        ("4 KiB, 16 at once: CPU of an upload", 0.625),
        ("POST /upload over PUT", 300 / 320),
        ("5 MiB: MB/s over rclone", 3.6),
        ("5 MiB: CPU s/GB", 7.2),
        ("peak memory", 290),
        ("UPLOAD_MEMORY", 290),
        ("8 accounts over 1", 1.25),
        ("p50", 59),
        ("5,000,000 files in the ledger", 0.95),
    ],
)
def test_a_target_is_met_when_its_figure_is_within(words: str, figure: float) -> None:
    seen, is_met = judged(targets_of(fast()), words)
    assert seen == pytest.approx(figure)
    assert is_met


def test_the_factors_over_the_first_design_are_stated_when_they_were_measured() -> None:
    targets = targets_of(fast())
    assert judged(targets, "uploads/s over first design") == (80, None)
    assert judged(targets, "uploads/s over boto3 kept") == (4, None)


def test_a_target_is_missed_when_its_figure_is_not_within() -> None:
    scenarios = [
        scenario("memory", 64 * MiB, 64, row("ours", turn(peak_bytes=390 * MiB), idle_bytes=90 * MiB)),
        scenario("delay", 4 * KiB, 1, row("ours", turn(p50=0.061, size=4 * KiB))),
    ]
    targets = targets_of(scenarios)
    assert judged(targets, "peak memory") == (390, True)
    assert judged(targets, "UPLOAD_MEMORY") == (390, False)
    assert judged(targets, "p50")[1] is False
    lines = target_lines(targets)
    assert any("p50" in line and line.endswith("MISSED") for line in lines)
    assert any("peak memory" in line and line.endswith(" met") for line in lines)


def test_the_two_main_ratios_come_last_when_they_were_measured() -> None:
    small, large = in_short(fast())[1:]
    assert small.endswith("1.60 times the uploads/s of rclone that is told not to look (no_head)")
    assert large.endswith("rclone needs 7.20 times our CPU seconds per GB")
    assert in_short([]) == []


def test_a_target_is_neither_met_nor_missed_when_it_was_not_measured() -> None:
    assert {target.is_met for target in targets_of([])} == {None}
    assert all("not measured" in line for line in target_lines(targets_of([]))[1:])

"""Figures of turns: medians, spreads, the cost of a GB; and their form as JSON."""

import json

import pytest

from bench.figures import MiB, Spread
from bench.results import result_of
from bench.targets import Target
from tests.unit.bench.turns import row, scenario, turn


def test_the_spread_is_the_median_and_the_ends_when_there_are_values() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
    assert Spread.of([]) is None


def test_speed_and_cost_are_by_the_bytes_received_when_a_turn_is_counted() -> None:
    seen = row("ours", turn(operations=200, seconds=2.0, size=5_000_000, cpu_seconds=0.5, peak_bytes=100 * MiB))
    expected = {
        "mb_per_second": 500, "uploads_per_second": 100, "cpu_seconds_per_gb": 0.5, "cpu_ms_per_upload": 2.5,
        "peak_mib": 100,
    }  # fmt: skip
    assert {name: seen.median(name) for name in expected} == pytest.approx(expected)
    assert seen.median("p50_ms") is None


def test_only_the_memory_counts_when_nothing_was_finished() -> None:
    seen = row("slow", turn(operations=0, seconds=0.0, peak_bytes=MiB), turn(operations=1, peak_bytes=3 * MiB))
    assert seen.spread("uploads_per_second") == Spread(1.0, 1.0, 1.0)
    assert seen.spread("peak_mib") == Spread(2.0, 1.0, 3.0)


def test_a_result_has_its_documented_form_when_it_is_written_as_json() -> None:
    measured = scenario(
        "sizes", 5 * MiB, 4, row("ours", turn(p50=0.1), turn(p50=0.3)), row("rclone", failed="it did not start")
    )
    targets = [Target("5 MiB", 2.5, 3.0), Target("p50", None, 60.0, is_limit=True)]
    result = json.loads(
        json.dumps(result_of({"cpu": "one"}, "quick", [measured], targets, {"slow": "why"}, {"tls": "what"}))
    )
    assert {name: result[name] for name in ("form", "kind", "machine", "failed", "skipped")} == {
        "form": 1, "kind": "quick", "machine": {"cpu": "one"}, "failed": {"slow": "why"}, "skipped": {"tls": "what"},
    }  # fmt: skip
    shown = result["scenarios"][0]
    assert {name: shown[name] for name in ("part", "server", "accounts", "size", "at_once", "rounds")} == {
        "part": "sizes", "server": "null S3", "accounts": 3, "size": 5 * MiB, "at_once": 4, "rounds": 2,
    }  # fmt: skip
    ours, rclone = shown["rows"]
    assert ours["figures"]["p50_ms"] == {"median": pytest.approx(200), "min": 100, "max": pytest.approx(300)}
    assert (ours["operations"], ours["failed"]) == (20, None)
    assert (rclone["figures"], rclone["failed"]) == ({}, "it did not start")
    assert result["targets"] == [
        {"name": "5 MiB", "figure": 2.5, "demand": 3.0, "bound": "at least", "met": False},
        {"name": "p50", "figure": None, "demand": 60.0, "bound": "at most", "met": None},
    ]

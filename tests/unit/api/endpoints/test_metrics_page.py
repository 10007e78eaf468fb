"""docs/metrics.md and docs/prometheus-rules.yml have every exported metric, and no other one."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from file.s3.figures import Figures
from testkit.processes import run_process
from tests.serving import running
from tests.unit.api.expectations import three

ROOT = Path(__file__).resolve().parents[4]
RULES = ROOT / "docs" / "prometheus-rules.yml"
# Not ours: functions, keywords and modifiers of PromQL.
WORDS = frozenset("max sum count by on unless rate increase time".split())


@pytest.fixture
async def exported() -> dict[str, Metric]:
    """By name."""
    with (figures := Figures("A")).counted("put"), figures.timed("put"):
        pass  # memory buckets send no requests
    async with running(three()) as service, service.client() as client:
        text = (await client.get("/_/metrics")).text
    families = text_string_to_metric_families(text)
    return {name_of(family): family for family in families if not family.name.endswith("_created")}


def name_of(family: Metric) -> str:
    """As in the text: the parser removes the ending of a counter."""
    return f"{family.name}_total" if family.type == "counter" else family.name


def labels_of(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels if label != "le"}


def rows() -> dict[str, list[str]]:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    section = page.partition("\n## All metrics\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert len({row[0] for row in cells}) == len(cells)
    return {row[0].strip("`"): row[1:] for row in cells}


def expressions() -> Iterator[tuple[str | None, str]]:
    """The name that each rule records, if it does, and its expression, which is on one line."""
    rule = re.compile(r"- (record|alert): (\S+)\n +expr: (.+)\n")
    found = rule.findall(text := RULES.read_text(encoding="utf-8"))
    assert len(found) == text.count("expr:") > 10
    for kind, name, expression in found:
        yield name if kind == "record" else None, expression


def test_every_metric_is_on_the_page_when_it_is_exported_and_no_other(exported: dict[str, Metric]) -> None:
    ours = {name: family for name, family in exported.items() if not name.startswith("process_")}
    found = rows()
    assert set(found) == set(ours)
    for name, (kind, labels, scope, together, meaning) in found.items():
        family = ours[name]
        assert kind == family.type, name
        # A label's name is before a colon, or in a list of names; a value may look the same.
        assert labels_of(family) <= set(re.findall(r"`(\w+)`", labels)), name
        assert scope in ("process", "ledger")
        assert together
        assert meaning
        assert ("not of the process" in family.documentation) == (scope == "ledger")
        assert (scope == "ledger") <= together.startswith("`max by")
        assert family.documentation.startswith("Deprecated: ") == ("**deprecated**" in meaning)


def test_every_name_in_the_rules_is_exported_when_it_is_not_recorded_before(exported: dict[str, Metric]) -> None:
    labels = {name: labels_of(family) for name, family in exported.items()}
    recorded: dict[str, set[str]] = {}
    for record, expression in expressions():
        known = {**labels, **recorded}
        names = re.findall(r"(?<![\w:\"|])(?:job[\w]*:)?mentum_[\w:]+", expression)
        assert names, expression
        assert set(names) <= set(known), expression
        asked = {"job", "instance"}.union(*(known[name] for name in names))
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
            assert set(group.split(", ")) <= asked, expression
        for name, matchers in re.findall(r"(\w[\w:]+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)(?==)", matchers)) <= known[name], expression
        if record is not None:
            assert record.partition(":")[0].split("_") == re.findall(r"by \(([^)]*)\)", expression)[0].split(", ")
            recorded[record] = set(record.partition(":")[0].split("_"))


def test_the_ledger_s_figures_are_never_added_up_in_the_rules() -> None:
    """They are only in the rules that record the largest value of all processes."""
    of_ledger = [name for name, row in rows().items() if row[2] == "ledger"]
    assert len(of_ledger) > 1
    for record, expression in expressions():
        if record is not None and record.endswith(":max"):
            labels, name, _ = record.split(":")
            assert expression == f"max by ({', '.join(labels.split('_'))}) ({name})"
        else:
            assert not any(re.search(rf"(?<![\w:]){name}\b", expression) for name in of_ledger), expression


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    ("command", "file"), [("check", RULES), ("test", Path(__file__).with_name("prometheus_rules_test.yml"))]
)
def test_the_rules_hold_when_promtool_tries_them(command: str, file: Path) -> None:
    run = run_process(["promtool", command, "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr

"""The figures of a run, as a table and as JSON."""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

from soak.journal import Journal
from soak.oracle import LEFT, LOST, Record, State, Verdict
from soak.run import CRASHED, Result

_LISTED = 20  # findings that are printed; findings.txt has all


class Progress:
    """A line of progress. On a terminal it is overwritten; elsewhere a new one is printed at intervals."""

    def __init__(self, every_seconds: float = 30.0, out: TextIO = sys.stdout) -> None:
        self._every_seconds = every_seconds
        self._last = time.monotonic()
        self._out = out
        self._is_terminal = out.isatty()

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if self._is_terminal:
            print(f"\r{line}\x1b[K", end="", flush=True, file=self._out)
        elif now - self._last >= self._every_seconds or not line.startswith(" "):
            self._last = now
            print(line, flush=True, file=self._out)

    def end(self) -> None:
        if self._is_terminal:
            print(flush=True, file=self._out)


def figures(result: Result, seed: int, minutes: float, database: str) -> dict[str, Any]:
    """The figures by their names."""
    states, verdict = result.states, result.verdict
    gone = states[State.DELETED] + states[State.DELETE_UNKNOWN]
    return {
        "seed": seed,
        "minutes": minutes,
        "ledger": database,
        "uploads tried": states.total(),
        "acknowledged": states[State.ACKNOWLEDGED] + gone,
        "refused": states[State.REFUSED],
        "refused, by code": dict(result.refusals.most_common()),
        "unknown": states[State.UNKNOWN],
        "deleted": states[State.DELETED] if result.deletes else "no DELETE yet",
        "DELETE never answered": states[State.DELETE_UNKNOWN],
        "besides": dict(sorted(result.counts.items())),
        "faults": dict(result.faults),
        "processes": dict(result.blows),
        "drained in seconds": round(result.drained_seconds),
        "not done at the end": result.unfinished,
        "objects read": len(verdict.expected),
        "MiB read": result.read_bytes // 2**20,
        "peak memory, MiB": {name: peak // 2**20 for name, peak in result.peaks.items()},
        "service processes that ended by themselves": len(verdict.of(CRASHED)),
        "acknowledged files missing or damaged in any account": len(verdict.of(LOST)),
        "objects, versions, multipart uploads that nobody knows": len(verdict.of(LEFT)),
    }


def table(told: dict[str, Any]) -> str:
    """Two columns; the entries of a nested figure are indented below it."""
    rows: list[tuple[str, str]] = []
    for name, value in told.items():
        if isinstance(value, dict):
            rows.append((name, "" if value else "none"))
            rows += [(f"  {key}", _text(each)) for key, each in value.items()]
        else:
            rows.append((name, _text(value)))
    width = max(len(name) for name, _ in rows)
    right = max(len(value) for _, value in rows)
    return "\n".join(f"{name.ljust(width)}  {value.rjust(right)}".rstrip() for name, value in rows)


def _text(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and value < 10**9 else str(value)


def findings(verdict: Verdict, records: dict[int, Record], journal: Journal) -> Iterator[str]:
    """Each finding with its history. findings.txt gets all of them; the first ones are returned for printing."""
    with (journal.folder / "findings.txt").open("w") as out:
        for count, finding in enumerate(verdict.findings):
            account = f" (account {finding.account})" if finding.account else ""
            lines = [f"{finding.kind}: {finding.text}{account}"]
            if finding.number is not None:
                record = records.get(finding.number)
                words = [record.name, record.id or ""] if record is not None else []
                lines += [f"    {line}" for line in journal.history(finding.number, words)]
            text = "\n".join(lines)
            print(text, file=out)
            if count < _LISTED:
                yield text
    if len(verdict.findings) > _LISTED:
        yield f"... and {len(verdict.findings) - _LISTED} more"


def write_json(told: dict[str, Any], path: str) -> None:
    with open(path, "w") as out:  # noqa: PTH123 - what a person typed
        json.dump(told, out, indent=1)
        out.write("\n")

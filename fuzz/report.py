"""The figures and the findings of a run."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fuzz.resources import Held
from fuzz.run import Result
from soak.oracle import Finding

_MIB = 1024 * 1024
_NUMBER = re.compile("0x[0-9a-f]+|[0-9]+")
_SHOWN = 3  # cases that are printed per kind of finding


def figures(result: Result, seed: int) -> dict[str, Any]:
    """The figures by their names."""
    kinds = Counter(finding.kind for finding in result.findings)
    return {
        "seed": seed,
        "seconds": round(result.seconds),
        "requests": result.requests,
        "connections": result.connections,
        "how clients ended them": dict(sorted(result.endings.items())),
        "mutations": dict(sorted(result.mutations.items())),
        "statuses": {str(status): count for status, count in sorted(result.statuses.items())},
        "answered by the HTTP server itself": result.by_the_server,
        "errors, by code": dict(sorted(result.codes.items())),
        "files acknowledged": len(result.acknowledged),
        "files in the end": result.files,
        "objects read in the accounts": result.objects,
        "replicas that an account refuses": result.blocked,
        "before": _held(result.before),
        "after": _held(result.after),
        "findings": dict(sorted(kinds.items())),
        "findings in all": len(result.findings),
    }


def _held(held: Held | None) -> dict[str, int]:
    if held is None:
        return {}
    return {
        "MiB": held.memory_bytes // _MIB,
        "MiB at the peak": held.peak_bytes // _MIB,
        "threads": held.threads,
        "open files": held.files,
        "connections of clients": held.connections,
    }


def findings(result: Result, seed: int, folder: Path) -> Iterator[str]:
    """Each kind of finding once, with some of its cases. `findings.txt` in the folder gets the whole list."""
    alike: defaultdict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in result.findings:
        alike[finding.kind, _without_numbers(finding.text)].append(finding)
    with (folder / "findings.txt").open("w") as out:
        for same in alike.values():
            first = same[0]
            account = f" (account {first.account})" if first.account else ""
            lines = [f"{first.kind}: {first.text}{account}", f"    {len(same)} times"]
            for finding in [each for each in same if each.number is not None][:_SHOWN]:
                again = f"python -m fuzz --seed {seed} --only {finding.number}"
                lines.append(f"    {folder / f'case-{finding.number}.bin'}; again: {again}")
            text = "\n".join(lines)
            print(text, file=out)
            yield text


def _without_numbers(text: str) -> str:
    return _NUMBER.sub("", text)[:200]

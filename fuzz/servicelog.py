"""Reads the log of the service while it is written: finds forbidden lines, and which requests have their line."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from soak.oracle import Finding

CRASHED = "crashed"
_GREETING = "Every file goes to the accounts "
_BAD_LEVELS = ("error", "critical")
_CASE = re.compile(r"fuzz-(\d+)-\d+")
_LAST_PLACE = re.compile(r'File "[^"]*?([^/"]+)", line (\d+), in (\w+)')


class ServiceLog:
    """`lines`: the number of request lines by id; `erased`: the ids of files that a DELETE erased."""

    def __init__(self, path: Path) -> None:
        self.lines: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.erased: set[str] = set()
        self._file = path.open("rb")

    def close(self) -> None:
        self._file.close()

    def read(self) -> Iterator[Finding]:
        """The violations in the lines since the last call."""
        foreign: list[str] = []
        for raw in self._whole_lines():
            line = raw.decode(errors="replace").rstrip("\n")
            if not line or line.startswith(_GREETING):
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                foreign.append(line)
                continue
            if foreign:
                yield _told_by_others(foreign)
                foreign = []
            if (finding := self._look_at(entry)) is not None:
                yield finding
        if foreign:
            yield _told_by_others(foreign)

    def _whole_lines(self) -> Iterator[bytes]:
        while True:
            place = self._file.tell()
            line = self._file.readline()
            if not line.endswith(b"\n"):
                self._file.seek(place)
                return
            yield line

    def _look_at(self, entry: dict[str, Any]) -> Finding | None:
        request_id, event = str(entry.get("request_id", "")), str(entry.get("event", ""))
        status = entry.get("status")
        if event == "request":
            self.lines[request_id] += 1
            self.statuses[status or 0] += 1
            if entry.get("method") == "DELETE" and "id" in entry:
                self.erased.add(entry["id"])
        exception = str(entry.get("exception", ""))
        if not exception and entry.get("level") not in _BAD_LEVELS and status != 500:
            return None
        match = _CASE.fullmatch(request_id)
        return Finding(CRASHED, _told(event, exception, entry), None, int(match[1]) if match else None)


def _told_by_others(lines: list[str]) -> Finding:
    """Text that is not in the format of the log, for example the traceback of a library's thread."""
    said = [line.strip() for line in lines if line.strip(" -^")]
    return Finding(
        CRASHED, f"not of the log's form: {said[-1][:200] if said else ''} ({said[0][:200] if said else ''})"
    )


def _told(event: str, exception: str, entry: dict[str, Any]) -> str:
    """A text that is equal for equal faults."""
    if not exception:
        return f"{event}: {entry.get('status', '')} {entry.get('code', '')} {entry.get('detail', '')}"
    places = _LAST_PLACE.findall(exception)
    where = " <- ".join(f"{file}:{line} {name}" for file, line, name in places[-1:-4:-1])
    return f"{event}: {exception.strip().splitlines()[-1][:200]} at {where}"

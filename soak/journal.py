"""All events in their order, so that the history of a file can be shown when something is wrong with it.

Times are seconds since the start of the journal. An event of one file is stored with the file's number. Other events
(a fault, a kill) are part of the history of every file that existed at that time. The folder of the run has all of
them in `events.log`, and the requests of each account in `requests-<account>.log`.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from testkit.faults.exchange import SeenRequest

_MARGIN_SECONDS = 2.0
_LONGEST = 60  # lines per file and source
_LINE = 300


class Journal:
    """For use by one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._began = time.monotonic()
        self._of_file: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        self._of_all: list[tuple[float, str]] = []
        self._events = (folder / "events.log").open("w")

    @property
    def seconds(self) -> float:
        """Seconds since the start of the journal."""
        return time.monotonic() - self._began

    def note(self, text: str, number: int | None = None) -> None:
        """Records an event of the file with that number, or of all files."""
        at = self.seconds
        entries = self._of_all if number is None else self._of_file[number]
        entries.append((at, text))
        self._events.write(f"{at:9.3f} {'' if number is None else f'[{number}] '}{text}\n")

    def note_requests(self, account: str, requests: Iterable[SeenRequest]) -> None:
        with (self.folder / f"requests-{account}.log").open("a") as log:
            for seen in requests:
                part = "" if seen.part_number is None else f" part {seen.part_number}"
                ended = seen.started if seen.ended is None else seen.ended
                log.write(
                    f"{seen.started - self._began:9.3f} {seen.operation}{part} {seen.target} sent {seen.body_bytes} "
                    f"server {seen.server_status} told {seen.status} fault {seen.fault} "
                    f"in {ended - seen.started:.3f}\n"
                )

    def history(self, number: int, words: Iterable[str]) -> list[str]:
        """All lines about a file. `words`: its key, name, and id, which are searched in the logs."""
        self._events.flush()
        own = self._of_file[number]
        first = own[0][0] - _MARGIN_SECONDS if own else 0.0
        last = own[-1][0] + _MARGIN_SECONDS if own else 0.0
        about = [*own, *((at, f"  ({text})") for at, text in self._of_all if first <= at <= last)]
        lines = [f"{at:9.3f} {text}" for at, text in sorted(about)]
        wanted = [word for word in words if word]
        for log in sorted(self.folder.glob("*.log")):
            if log.name != "events.log":
                lines += [f"{log.name}: {line[:_LINE]}" for line in _lines_with(log, wanted)]
        return lines

    def close(self) -> None:
        self._events.close()


def _lines_with(log: Path, words: list[str]) -> Iterator[str]:
    found = 0
    with log.open(errors="replace") as lines:
        for line in lines:
            if any(word in line for word in words):
                found += 1
                if found > _LONGEST:
                    return
                yield line.rstrip("\n")

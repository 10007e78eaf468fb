"""What happened, in the order in which it happened: the history of a file when something is wrong with it.

Times are seconds since the journal was begun. What concerns one file is kept with its number; what concerns everybody
(a fault, a kill) is told with every file that lived through it. All of it stands in `events.log`, each account's
requests in `requests-<account>.log`, in the folder of the run.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from testkit.faults.exchange import SeenRequest

_MARGIN_SECONDS = 2.0
_LONGEST = 60  # lines of one file and source
_LINE = 300


class Journal:
    """Used by one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._began = time.monotonic()
        self._of_file: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        self._of_all: list[tuple[float, str]] = []
        self._events = (folder / "events.log").open("w")

    @property
    def seconds(self) -> float:
        """Since it was begun."""
        return time.monotonic() - self._began

    def note(self, text: str, number: int | None = None) -> None:
        """Of the file with that number, or of everything."""
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
        """All lines on a file; `words` are its key, name and id, by which the logs are searched."""
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

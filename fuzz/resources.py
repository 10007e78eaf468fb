"""The resources of the service's process: memory, threads, open files, connections of clients. Linux only."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_FIGURES = re.compile(r"^(VmRSS|VmHWM|Threads):\s*(\d+)", re.MULTILINE)
_TABLES = ("tcp", "tcp6")
_LISTENING = "0A"


@dataclass(frozen=True, slots=True)
class Held:
    """The values at one moment; `peak_bytes`: since the start. `connections`: those that clients have opened."""

    memory_bytes: int
    peak_bytes: int
    threads: int
    files: int
    connections: int


class Resources:
    """Reads the resources of the process with this id, which listens on these ports."""

    def __init__(self, process_id: int, ports: Collection[int]) -> None:
        self._folder = Path(f"/proc/{process_id}")
        self._ports = ports

    def held(self) -> Held | None:
        """The resources now; None if the process has ended."""
        try:
            found = {name: int(value) for name, value in _FIGURES.findall((self._folder / "status").read_text())}
            files = self._files()
        except OSError:
            return None
        if "VmRSS" not in found:
            return None  # it has ended, but its parent has not waited for it
        sockets = {file.removeprefix("socket:[").removesuffix("]") for file in files if file.startswith("socket:[")}
        return Held(
            memory_bytes=found["VmRSS"] * 1024,
            peak_bytes=found["VmHWM"] * 1024,
            threads=found["Threads"],
            files=len(files),
            connections=len(sockets & self._of_clients()),
        )

    def _files(self) -> list[str]:
        files = []
        for name in os.listdir(self._folder / "fd"):  # noqa: PTH208 - they are many, and only numbers
            try:
                files.append(os.readlink(self._folder / "fd" / name))  # noqa: PTH115
            except FileNotFoundError:
                continue  # closed meanwhile
        return files

    def _of_clients(self) -> set[str]:
        """The inodes of all connections to the ports."""
        found = set()
        for table in _TABLES:
            path = self._folder / "net" / table
            for line in path.read_text().splitlines()[1:] if path.exists() else ():
                words = line.split()
                if words[3] != _LISTENING and int(words[1].rpartition(":")[2], 16) in self._ports:
                    found.add(words[9])
        return found

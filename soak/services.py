"""The service's processes, killed, frozen and started again while clients use them; each run has a log of its own."""

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

from testkit.serviceprocess import ServerProcess, ServerProcessError

_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
_STATE = re.compile(r"^State:\s*(\w)", re.MULTILINE)


class Service:
    """One process at a time, always at the same address. `listening`: a client may try it, though it may be frozen."""

    def __init__(self, name: str, port: int, environment: Mapping[str, str], folder: Path) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.listening = False
        self.peak_bytes = 0
        self.runs = 0
        self._port = port
        self._environment = environment
        self._folder = folder
        self._process: ServerProcess | None = None

    def start(self) -> None:
        """Raises `ServerProcessError`."""
        self.runs += 1
        log = self._folder / f"{self.name}.run{self.runs}.log"
        self._process = ServerProcess(self._port, self._environment, log)
        self._process.start()
        self.listening = True

    def kill(self) -> None:
        """SIGKILL."""
        self.listening = False
        self.look()
        if self._process is not None:
            self._process.kill()
            self._process = None

    def stop(self) -> None:
        """SIGTERM: it ends what is under way."""
        self.listening = False
        self.look()
        process, self._process = self._process, None
        if process is not None and (code := process.stop()) != 0:
            raise ServerProcessError(f"{self.name} ended with {code} when it was told to stop; see {process.log}")

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def look(self) -> bool:
        """Note its memory. False if it ended without having been told to."""
        process_id = self._process.process_id if self._process is not None else None
        if process_id is None:
            return True  # it is about to be started
        try:
            status = Path(f"/proc/{process_id}/status").read_text()
        except OSError:
            return False
        if (peak := _PEAK.search(status)) is not None:
            self.peak_bytes = max(self.peak_bytes, int(peak[1]) * 1024)
        state = _STATE.search(status)
        return state is None or state[1] != "Z"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.process_id is not None:
            os.kill(self._process.process_id, number)

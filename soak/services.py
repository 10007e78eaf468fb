"""The processes of the service, killed, frozen, and restarted while clients use them. Each run has its own log."""

import re
import signal
from pathlib import Path

from testkit.serviceprocess import ServiceProcess, ServiceProcessError

_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)
_STATE = re.compile(r"^State:\s*(\w)", re.MULTILINE)


class Service:
    """One process at a time, always at the same address. `listening`: clients may try it, but it may be frozen."""

    def __init__(self, name: str, process: ServiceProcess) -> None:
        self.name = name
        self.url = process.url
        self.listening = False
        self.peak_bytes = 0
        self.runs = 0
        self._process = process
        self._is_to_run = False

    def start(self) -> None:
        """Raises `ServiceProcessError`."""
        self.runs += 1
        self._process.log = self._process.log.with_name(f"{self.name}.run{self.runs}.log")
        self._process.start()
        self._is_to_run = True
        self.listening = True

    def kill(self) -> None:
        """SIGKILL."""
        self.listening = False
        self.look()
        self._is_to_run = False
        self._process.kill()

    def stop(self) -> None:
        """SIGTERM: the process drains its uploads."""
        self.listening = False
        self.look()
        self._is_to_run = False
        if (code := self._process.stop()) != 0:
            log = self._process.log
            raise ServiceProcessError(f"{self.name} ended with {code} when it was told to stop; see {log}")

    def freeze(self) -> None:
        self._process.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.signal(signal.SIGCONT)

    def look(self) -> bool:
        """Records its memory. False if it ended without an order to end."""
        if not self._is_to_run:
            return True  # it will be started soon
        try:
            status = Path(f"/proc/{self._process.process_id}/status").read_text()
        except OSError:
            return False
        if (peak := _PEAK.search(status)) is not None:
            self.peak_bytes = max(self.peak_bytes, int(peak[1]) * 1024)
        state = _STATE.search(status)
        return state is None or state[1] != "Z"

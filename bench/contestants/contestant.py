"""The interface of a contestant, and the gateway: a contestant to which the load generator uploads over HTTP."""

import itertools
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from bench.errors import ContestantError
from bench.figures import KiB, Load, Work
from bench.native_tools import build, run_load

_FILLED_A_SECOND = 100  # a slower contestant is skipped
_FILLED_ENOUGH = 0.99  # this share of uploads may be refused
_turns = itertools.count(1)


def new_prefix() -> str:
    """The prefix of all keys of a turn: no key is used twice, in any account or ledger."""
    return f"turn{next(_turns)}-"


class Contestant(ABC):
    """`start` raises `ContestantError`; `stop` may be called in any state."""

    name: str

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def process_ids(self) -> list[int]:
        """The processes that belong to it; their children are included."""

    @abstractmethod
    def upload(self, work: Work) -> Load: ...

    def warm_up(self, work: Work) -> None:
        """Some uploads that are not counted, so that connections are open and one-time work is done."""
        self.upload(work)

    @property
    def most_size(self) -> int | None:
        """The largest file that it gets; None: no limit."""
        return None


class Client(Contestant):
    """Whether no process runs between its uploads."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def process_ids(self) -> list[int]:
        return []


class Filled(Contestant):
    """A copy that has stored this number of small files before its first turn."""

    def __init__(self, contestant: Contestant, files: int) -> None:
        self.name = f"{contestant.name}, {files:,} files before"
        self._contestant = contestant
        self._files = files

    def start(self) -> None:
        self._contestant.start()
        if self._files:
            seconds = 10 + self._files / _FILLED_A_SECOND
            work = Work(size=4 * KiB, at_once=16, requests=self._files, seconds=seconds, limit_seconds=seconds)
            taken = self.upload(work).operations
            if taken < self._files * _FILLED_ENOUGH:
                raise ContestantError(f"it took only {taken:,} files of {self._files:,} before")

    def stop(self) -> None:
        self._contestant.stop()

    def process_ids(self) -> list[int]:
        return self._contestant.process_ids()

    def upload(self, work: Work) -> Load:
        return self._contestant.upload(work)


class Gateway(Contestant):
    """Receives a file once over HTTP. The prefix of the turn is appended to `path`, except for a form."""

    def __init__(self, name: str, folder: Path, *, is_form: bool = False) -> None:
        self.name = name
        self.folder = folder / name.replace(" ", "-")
        self.url = ""
        self.is_form = is_form
        self.path = "/"
        self.headers: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / "log.txt"

    def upload(self, work: Work) -> Load:
        path = self.path if self.is_form else self.path + new_prefix()
        port = urlsplit(self.url).port
        assert port is not None
        return run_load(build("load"), port, path, work, headers=self.headers, is_form=self.is_form)

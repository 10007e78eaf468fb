"""What the rounds ask of a contestant, and a gateway: a contestant to which the load generator uploads over HTTP."""

import itertools
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

from bench.errors import ContestantError
from bench.figures import KiB, Load, Work
from bench.native_tools import build, run_load

_FILLED_A_SECOND = 100  # who is slower is not asked
_FILLED_ENOUGH = 0.99  # a few may be refused
_turns = itertools.count(1)


def new_prefix() -> str:
    """Keys of a turn begin with it: no key is ever used twice, in whatever account or ledger."""
    return f"turn{next(_turns)}-"


class Contestant(ABC):
    """`start` raises `ContestantError`; `stop` may be called whatever happened before."""

    name: str

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    @abstractmethod
    def process_ids(self) -> list[int]:
        """The processes that count as its own; their children need not be named."""

    @abstractmethod
    def upload(self, work: Work) -> Load: ...

    def warm_up(self, work: Work) -> None:
        """Some uploads that are not counted: connections are open then, and what is made once is made."""
        self.upload(work)

    @property
    def most_size(self) -> int | None:
        """The largest file that it is asked to take, None for any."""
        return None


class Client(Contestant):
    """Nothing runs between its uploads."""

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def process_ids(self) -> list[int]:
        return []


class Filled(Contestant):
    """Another one, which has taken so many small files when its first turn begins."""

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
    """Takes a file once over HTTP. `path` is completed with a turn's prefix, but for a form."""

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

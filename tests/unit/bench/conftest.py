"""The native tools, built anew for each test process, and null S3 servers."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.native_tools import build, compiler
from bench.servers import NullStore
from testkit.account import StoreAccount


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The path of each tool by its name."""
    if compiler() is None:
        pytest.skip("there is no C compiler here")
    folder = tmp_path_factory.mktemp("native")
    return {name: build(name, folder) for name in ("nulls3", "load")}


@pytest.fixture
def null_store(native: dict[str, Path], tmp_path: Path) -> Iterator[Callable[..., StoreAccount]]:
    """`null_store("A", delay_ms=50)` is the account of a null S3 that has just been started."""
    with ExitStack() as running:

        def start(name: str, *, delay_ms: int = 0, bytes_per_second: int = 0) -> StoreAccount:
            store = NullStore(
                name, tmp_path, delay_ms=delay_ms, bytes_per_second=bytes_per_second, tool=native["nulls3"]
            )
            running.callback(store.stop)
            return store.start()

        yield start

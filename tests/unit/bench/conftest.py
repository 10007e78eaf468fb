"""The native tools, built anew for each test process, and null S3 servers, also by TLS."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench.errors import MissingLibraryError
from bench.native_tools import build, compiler
from bench.servers import NullStore, Tls
from testkit.account import StoreAccount


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The path of each tool by its name."""
    if compiler() is None:
        pytest.skip("there is no C compiler here")
    folder = tmp_path_factory.mktemp("native")
    return {name: build(name, folder) for name in ("nulls3", "load")}


@pytest.fixture(scope="session")
def tls_tool(native: dict[str, Path]) -> Path:
    """The null S3 that speaks TLS."""
    try:
        return build("nulls3", native["nulls3"].parent, with_tls=True)
    except MissingLibraryError as error:
        pytest.skip(str(error))


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    """A certificate authority of this test."""
    return Tls.made_in(tmp_path)


@pytest.fixture
def tls_store(tls_tool: Path, tls: Tls, tmp_path: Path) -> Iterator[StoreAccount]:
    """The account of a null S3 that speaks TLS, with a certificate of `tls`."""
    store = NullStore("A", tmp_path, tls=tls, tool=tls_tool)
    try:
        yield store.start()
    finally:
        store.stop()


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

"""What every test may ask for: real S3 servers for the accounts A, B and C, fault proxies before them, and databases.

The servers start when a test first asks, once for each test process, and are shared: `accounts` hands out empty buckets
and puts the servers back in order afterwards, so a test may freeze, kill or revoke them as it likes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import django
import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")
django.setup()  # before a test imports a model

from stores.account import StoreAccount
from stores.faultproxy import FaultProxy
from stores.seaweed import Seaweed, start_stores
from tests.databases import Postgres, sqlite_copy

# A loaded machine is slow at everything; what a test may take, pytest's own time limit says.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seaweed]]:
    """The running servers by account: A, B and C."""
    started = start_stores(tmp_path_factory.mktemp("stores"), ["A", "B", "C"])
    yield {store.account.name: store for store in started}
    for store in started:
        store.kill()


@pytest.fixture
def accounts(stores: dict[str, Seaweed]) -> Iterator[dict[str, StoreAccount]]:
    """The three accounts, their buckets empty, their servers running before and after, whatever the test does."""
    for store in stores.values():
        store.account.empty()
    yield {name: store.account for name, store in stores.items()}
    for store in stores.values():
        store.recover()


@pytest.fixture
def proxied(accounts: dict[str, StoreAccount]) -> Iterator[Callable[[str], FaultProxy]]:
    """`proxied("A")` is a running fault proxy before account A; `proxy.account` is A at the proxy's address."""
    with ExitStack() as running:
        yield lambda name: running.enter_context(FaultProxy(accounts[name]))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server, started when a test first asks."""
    with Postgres() as server:
        yield server


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[str]:
    """The alias of a migrated, empty SQLite database."""
    with sqlite_copy(tmp_path / "database.sqlite3") as alias:
        yield alias


@pytest.fixture
def postgresql_database(postgres_server: Postgres) -> Iterator[str]:
    """The alias of a migrated, empty PostgreSQL database."""
    with postgres_server.copy() as alias:
        yield alias


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The alias of a migrated, empty database of either kind."""
    alias: str = request.getfixturevalue(f"{request.param}_database")
    return alias

"""Fixtures for all tests: real S3 servers for the accounts A, B and C, fault proxies in front of them, and databases.

Each starts when a test first asks for it. All tests of a process share one server with all accounts. A test that
freezes, kills or revokes an account also asks for `stores`: then each account has its own server, which the tests of
the module share, and which recovers after each test.
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

from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from testkit.forking.commands import fork_commands
from testkit.seaweed import Seaweed, start_stores
from tests.buckets import NewBucket
from tests.databases import Postgres, sqlite_copy

# A loaded machine is slow; pytest's own time limit is the only one.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

fork_commands()

# The slowest tests, which mostly wait; the slowest first.
_LONGEST = (
    "tests/service/test_soak.py",
    "tests/kill/test_catch_up.py",
    "tests/service/test_demo.py",
    "tests/kill/",
    "tests/service/test_processes.py",
    "tests/service/test_postgresql_restarts.py",
    "tests/service/test_erasing.py",
    "tests/service/test_catch_up_fairness.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slowest tests begin first: otherwise one process would go on alone at the end. The rest keeps its order."""
    places = {place: rank for rank, place in enumerate(_LONGEST)}

    def rank(item: pytest.Item) -> int:
        return min((rank for place, rank in places.items() if item.nodeid.startswith(place)), default=len(places))

    items.sort(key=rank)


@pytest.fixture(scope="session")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Seaweed, dict[str, StoreAccount]]]:
    """One running server, and its accounts A, B and C."""
    with Seaweed(tmp_path_factory.mktemp("shared-store"), "A") as store:
        yield store, {"A": store.account, **{name: store.add_account(name) for name in ("B", "C")}}


@pytest.fixture(scope="session")
def kept_bucket(shared_store: tuple[Seaweed, dict[str, StoreAccount]]) -> NewBucket:
    """Like `new_bucket`, for buckets that many tests share: they stay as long as the server."""
    store, accounts = shared_store
    return lambda name, bucket, **kinds: store.create_bucket(bucket, owner=accounts[name], **kinds)


@pytest.fixture
def new_bucket(kept_bucket: NewBucket, shared_store: tuple[Seaweed, dict[str, StoreAccount]]) -> Iterator[NewBucket]:
    """`new_bucket("A", "its-name", versioned=True)` is account A with a new bucket, which is deleted after the test.
    A bucket with `object_lock` stays.
    """
    made: list[StoreAccount] = []

    def new(name: str, bucket: str, **kinds: bool) -> StoreAccount:
        account = kept_bucket(name, bucket, **kinds)
        if not kinds.get("object_lock"):
            made.append(account)
        return account

    yield new
    for account in made:
        shared_store[0].delete_bucket(account)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Seaweed]]:
    """A running server for each of the accounts A, B and C."""
    started = start_stores(tmp_path_factory.mktemp("stores"), ["A", "B", "C"])
    yield {store.account.name: store for store in started}
    for store in started:
        store.kill()


@pytest.fixture
def accounts(request: pytest.FixtureRequest) -> Iterator[dict[str, StoreAccount]]:
    """The three accounts with empty buckets, in one server; in a server each if the test asks for `stores`."""
    if "stores" in request.fixturenames:
        servers: dict[str, Seaweed] = request.getfixturevalue("stores")
        accounts = {name: server.account for name, server in servers.items()}
    else:
        store, shared = request.getfixturevalue("shared_store")
        servers, accounts = dict.fromkeys(shared, store), dict(shared)
    for name, account in accounts.items():
        servers[name].empty(account)
    yield accounts
    for server in servers.values():
        server.recover()


@pytest.fixture
def proxied(accounts: dict[str, StoreAccount]) -> Iterator[Callable[[str], FaultProxy]]:
    """`proxied("A")` is a running fault proxy in front of account A; `proxy.account` is A at the proxy's address."""
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

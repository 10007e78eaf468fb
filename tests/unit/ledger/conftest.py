"""Large ledgers that many tests read and no test changes, because filling one takes long."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bench.filled_ledger import fill
from tests.databases import Postgres, sqlite_copy

Filled = Callable[[int], str]


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """`filled(20_000)` is the alias of a database with that number of files, of either kind."""
    made: dict[int, str] = {}
    server: Postgres | None = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    with ExitStack() as databases:

        def of(count: int) -> str:
            if count not in made:
                copy = server.copy() if server else sqlite_copy(tmp_path_factory.mktemp("filled") / "ledger.sqlite3")
                made[count] = databases.enter_context(copy)
                fill(made[count], count)
            return made[count]

        yield of

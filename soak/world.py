"""Everything that runs: three accounts, a fault proxy before each, the processes of the service, and one ledger.

The bucket of the third account keeps versions. Everything that is started here is stopped at the end of the block.
"""

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from soak.proxy import SoakProxy
from soak.services import Service
from testkit.account import StoreAccount
from testkit.postgresql import PostgresqlServer
from testkit.processes import ROOT, run_process
from testkit.seaweed import Seaweed, start_stores, stop_stores
from testkit.serviceprocess import ServiceProcess

DATABASES = ("sqlite", "postgresql")
_NAMES = ("A", "B", "C")
_WITH_VERSIONS = "C"
_SETTINGS = {
    "UPLOAD_MAX_REQUEST_BYTES": "0",
    # Shorter than the defaults, so that a run has many of each, but longer than ten seconds: a restarted S3 server
    # delays its first write for ten seconds, and executes it even if the client has given up.
    "UPLOAD_STALL_SECONDS": "20",
    "UPLOAD_COMPLETE_SECONDS": "30",
    "UPLOAD_SHUTDOWN_SECONDS": "5",
}


@dataclass(frozen=True)
class World:
    """`accounts`: the accounts, reached without their proxies."""

    stores: list[Seaweed]
    accounts: Mapping[str, StoreAccount]
    proxies: Mapping[str, SoakProxy]
    services: list[Service]
    environment: Mapping[str, str]
    token: str
    lease_seconds: float

    def recover(self) -> None:
        """Removes all faults, and continues all frozen processes."""
        for service in self.services:
            service.thaw()
        for store in self.stores:
            store.recover()
        for proxy in self.proxies.values():
            proxy.clear()
            proxy.accept_connections()

    def manage(self, *words: str) -> tuple[int, str]:
        """Runs `manage.py` with the settings of the service. Returns the exit code and the last line of output."""
        done = run_process(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        said = (done.stdout + done.stderr).strip().splitlines()
        return done.returncode, said[-1] if said else ""


@contextmanager
def running_accounts(
    folder: Path, names: Sequence[str], with_versions: str
) -> Iterator[tuple[list[Seaweed], dict[str, StoreAccount]]]:
    """One server per account, until the block ends; one bucket keeps versions. Raises `StoreError`."""
    stores = start_stores(folder / "stores", names)
    try:
        accounts = {store.account.name: store.account for store in stores}
        keeping = stores[names.index(with_versions)]
        accounts[with_versions] = keeping.create_bucket("with-versions", versioned=True)
        yield stores, accounts
    finally:
        stop_stores(stores)


@contextmanager
def running(folder: Path, processes: int, database: str, lease_seconds: float) -> Iterator[World]:
    """Raises `StoreError`, `ServiceProcessError`."""
    with ExitStack() as stack:
        stores, accounts = stack.enter_context(running_accounts(folder, _NAMES, _WITH_VERSIONS))
        proxies = {name: stack.enter_context(SoakProxy(account)) for name, account in accounts.items()}
        token = secrets.token_urlsafe(24)
        settings = {
            **_SETTINGS,
            "UPLOAD_LEASE_SECONDS": f"{lease_seconds:g}",
            "UPLOAD_SETTLE_SECONDS": f"{lease_seconds / 6:g}",  # late objects are looked for after 15 of these
            "DATABASE_URL": stack.enter_context(_database(folder, database)),
        }
        reached = [proxy.account for proxy in proxies.values()]
        started = [ServiceProcess(folder, reached, settings, token=token) for _ in range(processes)]
        services = [Service(f"service-{n}", process) for n, process in enumerate(started, 1)]
        for service in services:
            stack.callback(service.kill)
        world = World(stores, accounts, proxies, services, started[0].environment, token, lease_seconds)
        if database == "postgresql":
            code, said = world.manage("migrate")
            assert code == 0, said
        for service in services:
            service.start()
        yield world


@contextmanager
def _database(folder: Path, kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'ledger.sqlite3'}"
        return
    with PostgresqlServer() as server:
        server.execute("CREATE DATABASE soak")
        yield server.url("soak")

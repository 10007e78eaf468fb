"""Everything that runs: two accounts on real S3 servers, and the service in a process of its own.

The second account's bucket keeps versions. Limits are short, so that a request that never ends is over in seconds, and
small, so that a file of two parts is a small one. What is started here is stopped when the block ends, however it ends.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.__main__ import free_port
from fuzz.connections import Addresses
from fuzz.ingredients import MIB, TOKENS
from fuzz.pace import Pace
from fuzz.resources import Resources
from soak.world import running_accounts
from testkit.account import StoreAccount
from testkit.serviceprocess import ServerProcess

MEMORY_BYTES = 64 * MIB
_REQUEST_BYTES = 12 * MIB
_NAMES = ("A", "B")
_WITH_VERSIONS = "B"
_SETTINGS = {
    "DEBUG": "false",
    "SECRET_KEY": "Kq7-the-secret-key-of-the-fuzzer-9fWz-which-is-long-enough-for-it-3xPb",
    "ALLOWED_HOSTS": "x,localhost",
    "CORS_ORIGINS": "https://files.example.com",
    "UPLOAD_MAX_REQUEST_BYTES": str(_REQUEST_BYTES),
    "UPLOAD_MEMORY": str(MEMORY_BYTES),
    "UPLOAD_HEAD_SECONDS": "1",
    "UPLOAD_CLIENT_GRACE_SECONDS": "1",
    "UPLOAD_IDLE_SECONDS": "2",
    "UPLOAD_LEASE_SECONDS": "10",
    "UPLOAD_SETTLE_SECONDS": "0.5",
}


@dataclass(frozen=True)
class World:
    """`token` is the first of the service's."""

    service: ServerProcess
    resources: Resources
    addresses: Addresses
    accounts: Mapping[str, StoreAccount]
    token: str


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """Raises `StoreError`, `ServerProcessError`."""
    with ExitStack() as stack:
        _, accounts = stack.enter_context(running_accounts(folder, _NAMES, _WITH_VERSIONS))
        port, metrics_port = free_port(), free_port()
        environment = {
            **_SETTINGS,
            "DATABASE_URL": f"sqlite:///{folder / 'ledger.sqlite3'}",
            "UPLOAD_TOKENS": json.dumps({f"client-{n}": token.decode() for n, token in enumerate(TOKENS)}),
            "UPLOAD_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
        }
        for account in accounts.values():
            environment |= account.environment()
        service = stack.enter_context(ServerProcess(port, environment, folder / "service.log"))
        assert service.process_id is not None
        resources = Resources(service.process_id, (port, metrics_port))
        yield World(service, resources, Addresses(port, metrics_port, Pace(port)), accounts, TOKENS[0].decode())

"""Everything that runs: two accounts on real S3 servers, and the service as a process.

The bucket of the second account keeps versions. Time limits are short, so that an endless request ends within seconds.
Size limits are small, so that a small file has two parts. Everything that is started here is stopped when the block
ends.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fuzz.connections import Addresses
from fuzz.ingredients import MIB, TOKENS
from fuzz.pace import Pace
from fuzz.resources import Resources
from soak.world import running_accounts
from testkit.account import StoreAccount
from testkit.ports import free_port
from testkit.serviceprocess import ServiceProcess

MEMORY_BYTES = 64 * MIB
_REQUEST_BYTES = 12 * MIB
_NAMES = ("A", "B")
_WITH_VERSIONS = "B"
_SETTINGS = {
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
    """`token`: the first token of the service."""

    service: ServiceProcess
    resources: Resources
    addresses: Addresses
    accounts: Mapping[str, StoreAccount]
    token: str


@contextmanager
def running(folder: Path) -> Iterator[World]:
    """Raises `StoreError`, `ServiceProcessError`."""
    with ExitStack() as stack:
        _, accounts = stack.enter_context(running_accounts(folder, _NAMES, _WITH_VERSIONS))
        metrics_port = free_port()
        settings = {
            **_SETTINGS,
            "UPLOAD_TOKENS": json.dumps({f"client-{n}": token.decode() for n, token in enumerate(TOKENS)}),
            "UPLOAD_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
        }
        service = stack.enter_context(ServiceProcess(folder, accounts.values(), settings))
        assert service.process_id is not None
        resources = Resources(service.process_id, (service.port, metrics_port))
        addresses = Addresses(service.port, metrics_port, Pace(service.port))
        yield World(service, resources, addresses, accounts, TOKENS[0].decode())

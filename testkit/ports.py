"""Blocks of free TCP ports on loopback, safe for many processes that search at the same time.

A store listens on the ports P to P+14 and P+10004. Blocks are multiples of sixteen. No server listens on the sixteenth
port: binding it claims the block, and the kernel releases it when the process ends. All blocks are below the ephemeral
ports, so that no outgoing connection can use one by chance.

For five of its ports a store also listens on a Unix socket in /tmp, whose name contains the port, and it removes an
existing one. Network namespaces have separate ports but share /tmp, so these sockets count as ports in use, too.
"""

import random
import socket
from pathlib import Path

from testkit.errors import StoreError

HOST = "127.0.0.1"
BLOCK = 16
FIRST = 10_240
LAST = 20_224  # LAST + 14 < FIRST + ADMIN_OFFSET: no block contains the far port of another block
ADMIN_OFFSET = 10_004  # weed opens a second admin port there, and has no option for it


def ports_of(first: int) -> list[int]:
    """The ports on which a store at `first` listens."""
    return [*range(first, first + 15), first + ADMIN_OFFSET]


def sockets_of(first: int) -> dict[int, Path]:
    """The Unix sockets of a store at `first`, by port: always in /tmp, also with TMPDIR."""
    roles = {"s3": 10, "master": 11, "volume": 12, "filer": 13, "admin": ADMIN_OFFSET}
    return {first + far: Path(f"/tmp/seaweedfs-{role}-grpc-{first + far}.sock") for role, far in roles.items()}


def remove_sockets(first: int) -> None:
    """Removes the sockets of a killed server; never those of a running one."""
    for path in sockets_of(first).values():
        if not _is_listened_on(path):
            path.unlink(missing_ok=True)


def port_in_use(first: int) -> int | None:
    """The first port of the block on which a process listens, or None."""
    for port in ports_of(first):
        with socket.socket() as probe:
            # As the server does it: a port with connections only in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return port
    return next((port for port, path in sockets_of(first).items() if _is_listened_on(path)), None)


def free_port() -> int:
    """A free port, chosen by the kernel. Another process may take it before the caller does."""
    with socket.socket() as trial:
        trial.bind((HOST, 0))
        port: int = trial.getsockname()[1]
        return port


def free_port_block() -> tuple[int, socket.socket]:
    """Claims a free block. It stays ours until the returned socket is closed."""
    blocks = list(range(FIRST, LAST + 1, BLOCK))
    random.SystemRandom().shuffle(blocks)  # not the seeded generator, because parallel test workers share its seed
    for first in blocks:
        claim = socket.socket()
        try:
            claim.bind((HOST, first + BLOCK - 1))
        except OSError:
            claim.close()
            continue
        if port_in_use(first) is None:
            return first, claim
        claim.close()
    raise StoreError(f"No block of {BLOCK} free ports between {FIRST} and {LAST + BLOCK}.")


def _is_listened_on(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except TimeoutError:
            return True  # a process listens, but is too busy to answer
        except OSError:
            return False
    return True

"""The crash: the service is killed during an upload, and cleans up when it is started again."""

import socket
import time
from collections.abc import Sequence
from contextlib import closing

from testkit.seaweed import Seaweed
from testkit.serviceprocess import ServiceProcess, wait_for

MiB = 1024 * 1024
KEY = "demo/cut-off.bin"
LEASE_SECONDS = 3
_WAIT_SECONDS = 60.0


def show_crash(stores: Sequence[Seaweed], service: ServiceProcess, token: str) -> bool:
    """Prints what each account has after SIGKILL and after the restart. True if nothing is left."""
    with service:
        sending = _begin(service.port, token)
        with closing(sending):
            wait_for(lambda: all(_left(store) for store in stores))
            service.kill()
        print(f"  killed:    {_told(stores)}", flush=True)
    with service:
        began = time.monotonic()
        clean = wait_for(lambda: not any(_left(store) for store in stores))
        seconds = time.monotonic() - began
        print(f"  restarted: {_told(stores)}, after {seconds:.0f} seconds (its lease was {LEASE_SECONDS})", flush=True)
    return clean


def _begin(port: int, token: str) -> socket.socket:
    """Sends most of a file, so that its parts are under way; the end is never sent."""
    sending = socket.create_connection(("127.0.0.1", port), timeout=_WAIT_SECONDS)
    lines = (
        f"PUT /files/{KEY} HTTP/1.1",
        "Host: demo",
        f"Authorization: Bearer {token}",
        f"Content-Length: {24 * MiB}",
    )
    head = "\r\n".join((*lines, "", ""))
    sending.sendall(head.encode() + bytes(20 * MiB))
    return sending


def _left(store: Seaweed) -> int:
    """The number of unfinished uploads and objects of the key."""
    contents = store.account.contents()
    return sum(key == KEY for key, _ in [*contents.uploads, *contents.versions])


def _told(stores: Sequence[Seaweed]) -> str:
    counts = ", ".join(f"{store.account.name} {_left(store)}" for store in stores)
    return f"unfinished uploads: {counts}"

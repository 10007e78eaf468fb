"""The outage: an account misses a file and receives it when it is back. Then the file is erased everywhere."""

import json
import time
import urllib.request
from collections.abc import Sequence
from typing import Any

from testkit.seaweed import Seaweed
from testkit.serviceprocess import HTTP, ServiceProcess, wait_for

KEY = "demo/missed.txt"


def show_outage(stores: Sequence[Seaweed], service: ServiceProcess, token: str) -> bool:
    """Prints which accounts have the file after each step. True if catch-up copied it, and it was erased."""
    out = stores[1]
    out.stop()
    receipt = _ask(service, token, "PUT", b"B missed this.\n", {"Upload-Ack": "any"})
    states = ", ".join(f"{name} {account['status']}" for name, account in receipt["accounts"].items())
    print(f"  {out.account.name} is down:  {states}", flush=True)
    out.start()
    out.wait_until_ready()
    began = time.monotonic()
    brought = wait_for(lambda: all(_has(store) for store in stores))
    print(f"  it is back: {_told(stores)}, after {time.monotonic() - began:.0f} seconds", flush=True)
    erasure = _ask(service, token, "DELETE")
    print(f"  DELETE:     {erasure['status']}; {_told(stores)}", flush=True)
    return brought and wait_for(lambda: not any(_has(store) for store in stores))


def _ask(
    service: ServiceProcess, token: str, method: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Any:
    request = urllib.request.Request(f"{service.url}/files/{KEY}", body, headers or {}, method=method)
    request.add_header("Authorization", f"Bearer {token}")
    with HTTP.open(request, timeout=60) as answer:
        return json.load(answer)


def _has(store: Seaweed) -> bool:
    return any(key == KEY for key, _ in store.account.contents().versions)


def _told(stores: Sequence[Seaweed]) -> str:
    return ", ".join(f"{store.account.name} {'has it' if _has(store) else 'has nothing'}" for store in stores)

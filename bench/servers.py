"""The servers to which contestants upload: null S3 or SeaweedFS; one per account, all on loopback."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import ascii_uppercase

from bench.errors import BenchError
from bench.native_tools import build
from bench.processes import clean_environment, start_process, stop_process, wait_until
from testkit.account import StoreAccount
from testkit.seaweed import start_stores, stop_stores


class NullStore:
    """The null S3 of one account. It needs almost no CPU, so the result measures the contestant."""

    def __init__(
        self, name: str, folder: Path, *, delay_ms: int = 0, bytes_per_second: int = 0, tool: Path | None = None
    ) -> None:
        self._tool = tool
        self._said = folder / f"nulls3-{name}.txt"
        self._options = ["--delay-ms", str(delay_ms), "--rate", str(bytes_per_second)]
        self._name = name
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> StoreAccount:
        self._said.write_bytes(b"")
        self._process = start_process(
            [self._tool or build("nulls3"), *self._options], self._said, environment=clean_environment()
        )
        wait_until(lambda: self._said.read_text().endswith("\n"), self._process, self._said)
        return StoreAccount(
            name=self._name,
            access_key_id="AKNULL",
            secret_access_key="not-checked-by-anybody",  # noqa: S106 - opens nothing
            region_name="eu-central-1",
            s3_bucket_name=f"bucket-{self._name.lower()}",
            endpoint_url=f"http://127.0.0.1:{int(self._said.read_text())}",
        )

    def stop(self) -> None:
        stop_process(self._process)


@contextmanager
def null_accounts(
    folder: Path, count: int, *, delay_ms: int = 0, rates: Sequence[int] = ()
) -> Iterator[list[StoreAccount]]:
    """`count` accounts. `rates`: bytes a second of the first ones, 0 for no limit."""
    if count > len(ascii_uppercase):
        raise BenchError(f"accounts are named by letters: {count} are too many")
    with ExitStack() as running:
        accounts = []
        for number in range(count):
            rate = rates[number] if number < len(rates) else 0
            store = NullStore(ascii_uppercase[number], folder, delay_ms=delay_ms, bytes_per_second=rate)
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

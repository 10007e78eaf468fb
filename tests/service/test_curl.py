"""The commands of the README, as they are typed: real curl, the service as a process of its own, and real accounts.

What lies in each account is asked with boto3. The large file is one of zeros with nothing on the disk, so that it
costs no time to make; to the service it is as long as any other.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from file.logic.values import MiB
from testkit.processes import run_process
from testkit.seaweed import start_stores
from testkit.serviceprocess import TOKEN, ServiceProcess
from tests.files import bytes_of
from tests.service.conftest import Accounts

PEAK_BYTES = 256 * MiB
LARGE = (4 if os.environ.get("FAULTS") == "all" else 2) * PEAK_BYTES
AUTHORIZATION = ("-H", f"Authorization: Bearer {TOKEN}")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

Started = Callable[..., ServiceProcess]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """`started(accounts, **environment)`: a running service with its defaults, but for `environment`."""
    with ExitStack() as running:

        def start(accounts: Accounts, **environment: str) -> ServiceProcess:
            return running.enter_context(ServiceProcess(tmp_path, accounts.values(), environment))

        yield start


@pytest.fixture
def own_accounts(tmp_path: Path) -> Iterator[Accounts]:
    """Three accounts on servers for this test alone: a shared server keeps the room of what was removed for long."""
    stores = start_stores(tmp_path / "stores", ["A", "B", "C"])
    try:
        yield {store.account.name: store.account for store in stores}
    finally:
        for store in stores:
            store.kill()
        shutil.rmtree(tmp_path / "stores")


def curl(folder: Path, *arguments: str) -> dict[str, Any]:
    """The receipt; curl itself must have been content, and so must the service (201)."""
    ended = run_process(
        ["curl", "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    body, _, status = ended.stdout.rpartition("\n")
    assert status == "201", body
    receipt: dict[str, Any] = json.loads(body)
    return receipt


def assert_every_account_has(accounts: Accounts, key: str, size: int, sha256: str) -> None:
    for account in accounts.values():
        found = account.boto3().get_object(Bucket=account.s3_bucket_name, Key=key)
        digest = hashlib.sha256()
        for chunk in found["Body"].iter_chunks(MiB):
            digest.update(chunk)
        assert (found["ContentLength"], digest.hexdigest()) == (size, sha256), account.name


def assert_both_commands_work(service: ServiceProcess, accounts: Accounts, folder: Path, size: int) -> None:
    content = bytes_of(size)
    sha256 = hashlib.sha256(content).hexdigest()
    (folder / "X").write_bytes(content)
    form = curl(folder, "-F", "file=@X", "-F", "filename=X.bin", *AUTHORIZATION, f"{service.url}/upload")
    key = f"some/key-of-{size}"
    put = curl(folder, "-T", "X", *AUTHORIZATION, f"{service.url}/files/{key}")
    assert put["key"] == key
    assert form["key"].endswith("-X.bin")
    for receipt in (form, put):
        assert (receipt["size"], receipt["sha256"], receipt["status"]) == (size, sha256, "stored")
        assert_every_account_has(accounts, receipt["key"], size, sha256)


def test_every_account_has_the_file_when_curl_sends_it_under_the_default_limit(
    started: Started, accounts: Accounts, tmp_path: Path
) -> None:
    service = started(accounts)
    for size in (0, 1, 5 * MiB):
        assert_both_commands_work(service, accounts, tmp_path, size)


def test_every_account_has_the_file_when_curl_sends_about_one_part_without_a_limit(
    started: Started, accounts: Accounts, tmp_path: Path
) -> None:
    service = started(accounts, UPLOAD_MAX_REQUEST_BYTES="0")
    for size in (8 * MiB - 1, 8 * MiB, 8 * MiB + 1):
        assert_both_commands_work(service, accounts, tmp_path, size)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_stays_small_when_curl_puts_much(started: Started, own_accounts: Accounts, tmp_path: Path) -> None:
    service = started(own_accounts, UPLOAD_MAX_REQUEST_BYTES="0")
    with (tmp_path / "X").open("wb") as file:
        file.truncate(LARGE)
    receipt = curl(tmp_path, "-T", "X", *AUTHORIZATION, f"{service.url}/files/some/key")
    peaks = peak_bytes_of_all(service)
    assert sum(peaks) < PEAK_BYTES, peaks
    sha256 = sha256_of_zeros(LARGE)
    assert (receipt["size"], receipt["sha256"]) == (LARGE, sha256)
    assert_every_account_has(own_accounts, "some/key", LARGE, sha256)


def sha256_of_zeros(size: int) -> str:
    digest, chunk = hashlib.sha256(), bytes(MiB)
    for _ in range(size // MiB):
        digest.update(chunk)
    return digest.hexdigest()


def peak_bytes_of_all(service: ServiceProcess) -> list[int]:
    """The most that each process of the service held: its own and those that it started."""
    peaks, found = [], [service.process_id]
    for process_id in found:
        status = Path(f"/proc/{process_id}/status").read_text()
        peaks += [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")]
        for task in Path(f"/proc/{process_id}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return peaks

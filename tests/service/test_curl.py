"""The curl commands of the README, with the service as a process and real accounts."""

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
from tests.processes import memory_of
from tests.service.conftest import Accounts

PEAK_BYTES = 256 * MiB
LARGE = (4 if os.environ.get("FAULTS") == "all" else 2) * PEAK_BYTES
NO_LIMIT = {"UPLOAD_MAX_REQUEST_BYTES": "0"}
AUTHORIZATION = ("-H", f"Authorization: Bearer {TOKEN}")

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")

Started = Callable[..., ServiceProcess]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """`started(accounts, {})`: a running service with the default settings, except those in the dictionary."""
    with ExitStack() as running:
        yield lambda accounts, settings: running.enter_context(ServiceProcess(tmp_path, accounts.values(), settings))


@pytest.fixture
def own_accounts(tmp_path: Path) -> Iterator[Accounts]:
    """On servers only for this test: a shared server frees the disk space of removed files too late."""
    stores = start_stores(tmp_path / "stores", ["A", "B", "C"])
    try:
        yield {store.account.name: store.account for store in stores}
    finally:
        for store in stores:
            store.kill()
        shutil.rmtree(tmp_path / "stores")


def curl(folder: Path, *arguments: str) -> dict[str, Any]:
    """The receipt of a successful upload."""
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


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [({}, [0, 1, 5 * MiB]), (NO_LIMIT, [8 * MiB - 1, 8 * MiB, 8 * MiB + 1])],
    ids=["default limit", "about one part without a limit"],
)
def test_every_account_has_the_file_when_curl_sends_it(
    started: Started, accounts: Accounts, tmp_path: Path, settings: dict[str, str], sizes: list[int]
) -> None:
    service = started(accounts, settings)
    for size in sizes:
        assert_both_commands_work(service, accounts, tmp_path, size)


@pytest.mark.timeout(300)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_stays_small_when_curl_puts_much(started: Started, own_accounts: Accounts, tmp_path: Path) -> None:
    service = started(own_accounts, NO_LIMIT)
    with (tmp_path / "X").open("wb") as file:
        file.truncate(LARGE)  # zeros, which use no disk space
    receipt = curl(tmp_path, "-T", "X", *AUTHORIZATION, f"{service.url}/files/some/key")
    peaks = peak_bytes_of_all(service)
    assert sum(peaks) < PEAK_BYTES, peaks
    with (tmp_path / "X").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    assert (receipt["size"], receipt["sha256"]) == (LARGE, sha256)
    assert_every_account_has(own_accounts, "some/key", LARGE, sha256)


def peak_bytes_of_all(service: ServiceProcess) -> list[int]:
    """The peak of each process of the service, and of those that it started."""
    found = [service.process_id]
    for process_id in found:
        for task in Path(f"/proc/{process_id}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return [memory_of(process_id, "VmHWM") for process_id in found]

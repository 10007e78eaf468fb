"""The memory formula of docs/operations.md, measured on the service as a process with real accounts."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from file.logic.values import KiB, MiB
from testkit.account import StoreAccount
from testkit.serviceprocess import ServiceProcess
from tests.processes import memory_of
from tests.serving import HEADERS, PLAIN

BUDGET = 32 * MiB
CONNECTIONS = 16


@pytest.fixture
def service(accounts: dict[str, StoreAccount], tmp_path: Path) -> ServiceProcess:
    settings = {"UPLOAD_MAX_REQUEST_BYTES": "0", "UPLOAD_MEMORY": str(BUDGET), "UPLOAD_WAIT_SECONDS": "100"}
    return ServiceProcess(tmp_path, accounts.values(), settings)


@pytest.mark.skipif(os.name != "posix" or not Path("/proc/self/status").exists(), reason="reads /proc")
async def test_peak_memory_stays_under_the_formula_when_many_large_files_come_at_once(service: ServiceProcess) -> None:
    async def body(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // (256 * KiB)):
            yield bytes(256 * KiB)

    with service:
        assert service.process_id is not None
        base = memory_of(service.process_id, "VmRSS")
        async with httpx.AsyncClient(base_url=service.url, headers=HEADERS, timeout=100, **PLAIN) as client:
            puts = [
                client.put(
                    f"/files/{number}",
                    content=body(9 * MiB),
                    headers={"content-length": str(9 * MiB)} if number % 2 else {},
                )
                for number in range(CONNECTIONS)
            ]
            answers = await asyncio.gather(*puts)
        peak = memory_of(service.process_id, "VmHWM")
    assert {answer.status_code for answer in answers} == {201}
    warm = 8 * MiB  # for the threads and connections that the first requests open
    assert peak <= base + warm + BUDGET + CONNECTIONS * MiB, f"{base=} {peak=}"

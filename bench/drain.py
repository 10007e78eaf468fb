"""How fast an account catches up after it was down: `python -m bench.drain [--files 10000] [--bytes 4096]`.

Starts three SeaweedFS servers and the service, stops account B, uploads the files with `Upload-Ack: any`, restarts
the service twice, starts B again, and prints the time until B has all files, by the figures of the service and by the
content of B.
"""

import argparse
import asyncio
import os
import re
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import django
import httpx

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mentumfileupload.settings")
django.setup()

from testkit.seaweed import start_stores, stop_stores
from testkit.serviceprocess import ServiceProcess
from tests.serving import HEADERS

AT_ONCE = 16
_LEFT = re.compile(r'^mentum_replicas\{account="B",.*\} (\S+)$', re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--bytes", type=int, default=4096)
    asked = parser.parse_args()
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="drain-")))
        stores = start_stores(folder / "stores", ["A", "B", "C"])
        running.callback(stop_stores, stores)
        service = ServiceProcess(folder, [store.account for store in stores])
        running.callback(service.kill)
        out = stores[1]
        service.start()
        out.stop()
        began = time.monotonic()
        asyncio.run(upload(service.url, asked.files, asked.bytes))
        print(
            f"missed by B: {asked.files} files of {asked.bytes} bytes, in {time.monotonic() - began:.0f} s", flush=True
        )
        for _ in range(2):
            service.stop()
            service.start()
        out.start()
        out.wait_until_ready()
        began = time.monotonic()
        until_drained(service.url)
        seconds = time.monotonic() - began
        has = len(out.account.contents().versions)
        print(f"drained in {seconds:.0f} s: {asked.files / seconds:.0f} files a second; B has {has}", flush=True)
        assert has == asked.files


async def upload(url: str, files: int, size: int) -> None:
    numbers = iter(range(files))
    body = bytes(size)

    async def client(http: httpx.AsyncClient) -> None:
        for number in numbers:
            answer = await http.put(f"/files/{number}", content=body, headers={"upload-ack": "any"})
            assert answer.status_code == 202, answer.text

    async with (
        httpx.AsyncClient(base_url=url, headers=HEADERS, timeout=60, trust_env=False) as http,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(AT_ONCE):
            group.create_task(client(http))


def until_drained(url: str) -> None:
    """The service reads its figures every ten seconds, so the time is too long by up to that."""
    with httpx.Client(base_url=url, headers=HEADERS, timeout=60, trust_env=False) as http:
        seen = False
        while True:
            figures = http.get("/_/metrics").text
            left = sum(float(count) for count in _LEFT.findall(figures))
            if not left and seen:
                return
            seen = seen or left > 0
            time.sleep(0.5)


if __name__ == "__main__":
    main()

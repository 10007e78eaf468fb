"""Reading with curl: unusual keys, a part that is already there, and a body that breaks off."""

import asyncio
import shutil
from pathlib import Path

import pytest

from file.logic.values import MiB
from testkit.faults.faults import Fault
from testkit.processes import run_process
from tests.files import bytes_of
from tests.readers import TOKEN, reading_from
from tests.service.conftest import Accounts, Proxied

CONTENT = bytes_of(3 * MiB + 7)
SMALL = b"content"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")


def curl(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output."""
    told = run_process(
        ["curl", "-sS", "--path-as-is", "-m", "60", "-H", f"Authorization: Bearer {TOKEN}", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return told.returncode, told.stdout + told.stderr


async def test_curl_sees_an_error_when_the_bytes_were_damaged(proxied: Proxied, tmp_path: Path) -> None:
    proxy = proxied("A")
    proxy.add(Fault.damages_reply(operation="get", at_byte=100, times=None))
    async with reading_from(proxy.account) as reader:
        await reader.store("k", CONTENT)
        code, told = await asyncio.to_thread(curl, tmp_path, "-o", "X", f"{reader.url}/files/k")
        assert code == 18, told
        assert (tmp_path / "X").stat().st_size < len(CONTENT)


async def test_curl_fetches_the_rest_when_it_goes_on_with_a_part(accounts: Accounts, tmp_path: Path) -> None:
    async with reading_from(*accounts.values()) as reader:
        await reader.store("some/key", CONTENT)
        for begun in (0, 1, 100_000, len(CONTENT) - 1, len(CONTENT)):
            (tmp_path / "X").write_bytes(CONTENT[:begun])
            code, told = await asyncio.to_thread(curl, tmp_path, "-C", "-", "-o", "X", f"{reader.url}/files/some/key")
            assert (code, (tmp_path / "X").read_bytes() == CONTENT) == (0, True), (begun, told)


@pytest.mark.parametrize(
    ("spelt", "key"),
    [
        ("a%20b%2Bc", "a b+c"),
        ("a+b&c=d;e,f@g:h!$'()*", "a+b&c=d;e,f@g:h!$'()*"),
        ("%C3%BC/%E7%A9%BA.pdf", "ü/空.pdf"),
        ("what%3Fthen%23now", "what?then#now"),
        ("a//b///c", "a//b///c"),
        ("50%25%41", "50%A"),
    ],
)
async def test_curl_gets_a_file_with_an_unusual_key(spelt: str, key: str, accounts: Accounts, tmp_path: Path) -> None:
    async with reading_from(accounts["A"]) as reader:
        await reader.store(key, SMALL)
        code, told = await asyncio.to_thread(curl, tmp_path, "--globoff", "-o", "X", f"{reader.url}/files/{spelt}")
        assert (code, (tmp_path / "X").read_bytes()) == (0, SMALL), told


async def test_curl_saves_the_file_under_its_name_when_it_is_asked_to(accounts: Accounts, tmp_path: Path) -> None:
    async with reading_from(accounts["A"]) as reader:
        await reader.store("k", SMALL, name="A report.pdf")
        code, told = await asyncio.to_thread(curl, tmp_path, "-OJ", f"{reader.url}/files/k")
        assert code == 0, told
        assert (tmp_path / "A report.pdf").read_bytes() == SMALL

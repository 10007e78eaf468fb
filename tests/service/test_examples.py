"""The folder `examples/`: each client sends a file to a running service, each configuration is checked."""

import configparser
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from testkit.processes import ROOT, run_process
from testkit.serviceprocess import TOKEN, ServiceProcess
from tests.service.conftest import Accounts
from tests.service.owners import assert_nothing_left, assert_stored
from tests.service.reverseproxies import NGINX

EXAMPLES = ROOT / "examples"
KEY = "2026/report.pdf"
BODY = b"a report\n" * 4096
CLIENTS = {
    "curl": [str(EXAMPLES / "curl" / "upload.sh")],
    "python3": [sys.executable, str(EXAMPLES / "python" / "upload.py")],
    "node": ["node", str(EXAMPLES / "javascript" / "upload.mjs")],
}


@pytest.fixture(params=[pytest.param(c, marks=pytest.mark.skipif(not shutil.which(c), reason="none")) for c in CLIENTS])
def client(request: pytest.FixtureRequest) -> Sequence[str]:
    return CLIENTS[request.param]


@pytest.fixture
def service(accounts: Accounts, tmp_path: Path) -> Iterator[ServiceProcess]:
    with ServiceProcess(tmp_path, accounts.values()) as running:
        yield running


def upload(client: Sequence[str], service: ServiceProcess, folder: Path, token: str = TOKEN) -> tuple[int, str]:
    """The exit code, and what the client said."""
    (folder / "report.pdf").write_bytes(BODY)
    ended: subprocess.CompletedProcess[str] = run_process(
        [*client, "report.pdf", KEY],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "MENTUM_URL": service.url, "MENTUM_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout


def test_every_account_has_the_file_unless_the_token_is_wrong(
    client: Sequence[str], service: ServiceProcess, accounts: Accounts, tmp_path: Path
) -> None:
    code, said = upload(client, service, tmp_path, token="another-token-than-theirs")
    assert code != 0
    assert "401" in said
    assert_nothing_left(accounts.values())
    code, said = upload(client, service, tmp_path)
    assert code == 0, said
    if "curl" in client[0]:
        assert set(json.loads(said)["accounts"]) == set(accounts)
    else:
        assert [line.strip() for line in said.splitlines()[1:]] == [f"{name}: stored" for name in accounts]
    assert_stored(accounts.values(), {KEY: BODY})


def test_the_nginx_example_is_the_configuration_of_the_page() -> None:
    """`test_reverse_proxies.py` runs this configuration."""
    shown = (EXAMPLES / "nginx" / "mentum.conf").read_text()
    lines = [line for line in shown.splitlines(keepends=True) if not line.startswith("#")]
    assert lines[1:] == NGINX.configuration().splitlines(keepends=True)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = (EXAMPLES / "systemd" / "mentum.service").read_text()
    unit = configparser.RawConfigParser(strict=False)
    unit.read_string(text)
    assert unit.sections() == ["Unit", "Service", "Install"]
    assert "manage.py runserver" in unit["Service"]["ExecStart"]
    if systemd_analyze := shutil.which("systemd-analyze"):
        here = tmp_path / "mentum.service"
        here.write_text(text.replace("/opt/mentum/.venv/bin/python", sys.executable))
        checked = run_process([systemd_analyze, "verify", here], capture_output=True, text=True, timeout=60)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")

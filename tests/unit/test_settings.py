"""`manage.py`: the commands that a fault in the settings stops, and what a start needs."""

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from testkit.serviceprocess import SECRET_KEY

Run = Callable[..., CompletedProcess[str]]

ROOT = Path(__file__).resolve().parents[2]
ERROR = re.compile(r"^\?: \((file\.E\d{3})\) (.*)$", re.MULTILINE)
TOKENS = '{"me": "a-token-of-a-test"}'


def faults_in(run: CompletedProcess[str]) -> list[tuple[str, str]]:
    """Each line between Django's heading and its summary must be a fault."""
    assert "Traceback" not in run.stderr
    body = run.stderr.partition("ERRORS:\n")[2].partition("\n\nSystem check")[0]
    found = ERROR.findall(run.stderr)
    assert len(body.splitlines()) == len(found)
    return found


@pytest.mark.parametrize("name", [".env.example", ".env.testing"])
def test_check_passes_when_a_shipped_file_is_used(name: str, manage: Run) -> None:
    run = manage("check", UPLOAD_ENV_FILE=f"mentumfileupload/{name}")
    assert (run.returncode, run.stderr) == (0, "")


def test_check_fails_with_a_line_for_each_fault_when_there_are_some(
    manage: Run, account_json: Callable[..., str]
) -> None:
    faulty = {
        "UPLOAD_MEMROY": "1",
        "UPLOAD_WAIT_SECONDS": "soon",
        "AWS_ACCOUNT_A": account_json(prefix="/"),
        "AWS_ACCOUNT_B": '{"secret_access_key": "SECRET"',
    }
    run = manage("check", **faulty, SECRET_KEY=SECRET_KEY, UPLOAD_TOKENS=TOKENS)
    assert run.returncode == 1
    assert [line.partition(":")[0] for _, line in faults_in(run)] == sorted(faulty)
    assert "SECRET" not in run.stdout + run.stderr
    assert manage("check", "--database", "default", **faulty).returncode == 1


def test_check_warns_and_passes_when_a_region_cannot_be_one(manage: Run, account_json: Callable[..., str]) -> None:
    run = manage("check", DEBUG="true", AWS_ACCOUNT_A=account_json(region_name="eu-central-1a"))
    assert run.returncode == 0
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("?:")]
    assert line == (
        "?: (file.W001) AWS_ACCOUNT_A: the key 'region_name' is not a name that a region of AWS can have; "
        "eu-central-1 is probably meant"
    )


def test_runserver_does_not_start_when_there_is_a_fault(manage: Run, account_json: Callable[..., str]) -> None:
    run = manage("runserver", "127.0.0.1:1", DEBUG="true", AWS_ACCOUNT_A=account_json(prefix="/"))
    assert run.returncode == 1
    assert [line.partition(":")[0] for _, line in faults_in(run)] == ["AWS_ACCOUNT_A"]


@pytest.mark.parametrize("command", [["migrate", "--verbosity=0"], ["makemigrations", "--check", "--dry-run"]])
def test_a_release_is_prepared_when_nothing_is_configured(command: list[str], manage: Run) -> None:
    run = manage(*command, UPLOAD_MEMROY="1", AWS_ACCOUNT_A="{", DEBUG="ture")
    assert (run.returncode, run.stderr) == (0, "")


def test_migrate_refuses_and_shows_no_password_when_the_database_s_url_is_wrong(manage: Run) -> None:
    run = manage("migrate", DATABASE_URL="oracle://me:SECRET@host/x")
    assert run.returncode != 0
    assert "SECRET" not in run.stdout + run.stderr


def test_a_valid_line_to_paste_is_printed_when_there_are_no_tokens(
    manage: Run, account_json: Callable[..., str]
) -> None:
    environment = {"SECRET_KEY": SECRET_KEY, "AWS_ACCOUNT_A": account_json()}
    run = manage("check", **environment)
    assert run.returncode == 1
    ((identity, line),) = faults_in(run)
    assert identity == "file.E002"
    value = line.rpartition("UPLOAD_TOKENS=")[2]
    assert len(json.loads(value)["me"]) >= 32
    assert manage("check", **environment, UPLOAD_TOKENS=value).returncode == 0
    assert value not in manage("check", **environment).stderr
    assert manage("check", **environment, UPLOAD_OPEN="true", ALLOWED_HOSTS="files.example").returncode == 0
    assert manage("check", DEBUG="true", AWS_ACCOUNT_A=account_json()).returncode == 0


def test_there_is_one_fault_when_the_tokens_are_wrong(manage: Run, account_json: Callable[..., str]) -> None:
    run = manage("check", SECRET_KEY=SECRET_KEY, AWS_ACCOUNT_A=account_json(), UPLOAD_TOKENS='{"me": "short"}')
    assert [identity for identity, _ in faults_in(run)] == ["file.E001"]


def test_the_environment_wins_when_the_file_says_otherwise(manage: Run, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("UPLOAD_MAX_UPLOADS=5\nUPLOAD_ACCOUNT_REQUESTS=6\nSECRET_KEY=$ecret\n")
    script = (
        "import os; from django.conf import settings as s; "
        "print(s.UPLOAD.max_uploads, s.UPLOAD.account_requests, s.SECRET_KEY, 'SECRET_KEY' in os.environ)"
    )
    run = manage("shell", "--no-imports", "-c", script, UPLOAD_ENV_FILE=str(file), UPLOAD_MAX_UPLOADS="7")
    assert run.stdout.split() == ["7", "6", "$ecret", "False"], run.stderr


def test_each_start_has_another_secret_key_when_none_is_set(run_python: Run) -> None:
    script = "from mentumfileupload.settings import SECRET_KEY; print(SECRET_KEY)"
    first, second = (run_python("-c", script).stdout for _ in range(2))
    assert len(first) >= 50
    assert first != second


def test_no_settings_show_a_secret_when_they_are_printed(run_python: Run, account_json: Callable[..., str]) -> None:
    script = "import mentumfileupload.settings as s; print(s.UPLOAD, s.UPLOAD_FAULTS, s._project)"
    run = run_python(
        "-c",
        script,
        AWS_ACCOUNT_A=account_json(secret_access_key="HIDE1", session_token="HIDE2", access_key_id="HIDE3"),
        UPLOAD_TOKENS='{"me": "HIDE4-of-a-test-0815"}',
        SECRET_KEY=f"HIDE5{SECRET_KEY}",
        HTTPS_PROXY="http://u:HIDE6@proxy",
        DATABASE_URL="postgres://u:HIDE7@host/x",
    )
    assert "files-a" in run.stdout
    assert "HIDE" not in run.stdout + run.stderr


def test_an_older_python_gets_an_error_in_one_line_when_it_runs_manage_py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 13, "final", 0))
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "manage.py"), run_name="__main__")
    line = stopped.value.code
    assert isinstance(line, str)
    assert "3.11" in line
    assert "this is Python 3.10." in line
    assert "\n" not in line

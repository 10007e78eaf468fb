"""The .env file: precedence, which file is read, and faults, which do not show the line."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_urlsafe

import pytest

from mentumfileupload.config.environmentfile import read_environment
from mentumfileupload.config.uploadsettings import ProjectSettings, read_settings

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = [ROOT / "mentumfileupload" / ".env.example", ROOT / "mentumfileupload" / ".env.testing"]


def as_docker_reads(text: str) -> dict[str, str]:
    """docker's `--env-file`: no quoting and no escapes; only lines that begin with # are comments."""
    lines = [line.lstrip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    assert all(separator for _, separator, _ in pairs), "docker would take the value from its own environment"
    assert not any(re.search(r"\s", name) for name, _, _ in pairs), "docker refuses names with white space"
    return {name: value for name, _, value in pairs}


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "settings.env"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_environment_wins_when_both_set_a_variable(file: Callable[[str], Path]) -> None:
    process = {"DEBUG": "false", "UPLOAD_TOKENS": ""}
    found, faults = read_environment(process, file("DEBUG=true\nSECRET_KEY=$from=file\nUPLOAD_TOKENS={}\n"))
    assert faults == ()
    assert found == {"DEBUG": "false", "SECRET_KEY": "$from=file", "UPLOAD_TOKENS": ""}
    assert process == {"DEBUG": "false", "UPLOAD_TOKENS": ""}


def test_the_default_file_may_be_missing_when_nothing_names_another(tmp_path: Path) -> None:
    assert read_environment({"A": "1"}, tmp_path / "missing") == ({"A": "1"}, ())


def test_no_file_is_read_when_the_variable_is_empty(file: Callable[[str], Path]) -> None:
    process = {"UPLOAD_ENV_FILE": ""}
    assert read_environment(process, file("DEBUG=true")) == (process, ())


def test_another_file_is_read_when_the_variable_names_it(file: Callable[[str], Path], tmp_path: Path) -> None:
    other = tmp_path / "other.env"
    other.write_bytes("\ufeffSECRET_KEY=ü\r\nDEBUG=1\r\n".encode())
    found, faults = read_environment({"UPLOAD_ENV_FILE": str(other)}, file("SECRET_KEY=default"))
    assert (found["SECRET_KEY"], found["DEBUG"], faults) == ("ü", "1", ())


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), (b"A=\xff", "UTF-8")])
def test_a_named_file_is_a_fault_when_it_cannot_be_read(content: bytes | None, says: str, tmp_path: Path) -> None:
    path = tmp_path / "named.env"
    if content is not None:
        path.write_bytes(content)
    _, (fault,) = read_environment({"UPLOAD_ENV_FILE": str(path)}, tmp_path / "default")
    assert fault.startswith("UPLOAD_ENV_FILE: ")
    assert says in fault


@pytest.mark.parametrize("line", ["A = SECRET", "SECRET", "A: SECRET", " A=SECRET", "a-b=SECRET", "=SECRET"])
def test_a_line_is_a_fault_and_not_shown_when_it_sets_nothing(
    line: str, file: Callable[[str], Path], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    found, faults = read_environment({}, file(f"# a comment\n\n  # another\n{line}\nB=1\n"))
    assert faults == ("settings.env line 4: is not NAME=value, without spaces around the =",)
    assert found == {"B": "1"}
    assert "SECRET" not in caplog.text + "".join(capfd.readouterr())


def test_a_name_that_is_set_twice_is_a_fault_when_both_are_in_the_file(file: Callable[[str], Path]) -> None:
    _, faults = read_environment({}, file("A=1\nB=2\nA=3\n"))
    assert faults == ("settings.env line 3: sets A again, after line 1",)


def test_the_file_s_own_variable_is_a_fault_when_it_is_in_the_file(file: Callable[[str], Path]) -> None:
    found, (fault,) = read_environment({}, file("UPLOAD_ENV_FILE=other"))
    assert fault.startswith("UPLOAD_ENV_FILE: ")
    assert found == {}


@pytest.mark.parametrize("line", ["A={}", "A='{}'", "export A={}"])
def test_an_account_is_read_when_its_line_has_any_of_the_forms(
    line: str, file: Callable[[str], Path], account_json: Callable[..., str]
) -> None:
    text = "DEBUG=true\n" + line.replace("A=", "AWS_ACCOUNT_A=").replace("{}", account_json())
    found, faults = read_environment({}, file(text))
    assert faults == ()
    assert accounts_of(found) == accounts_of({"DEBUG": "true", "AWS_ACCOUNT_A": account_json()})
    if not line.startswith("export"):
        assert accounts_of(as_docker_reads(text)) == accounts_of(found)


def accounts_of(environment: Mapping[str, str]) -> ProjectSettings:
    project = read_settings(environment)
    assert project.faults == ()
    return project


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_file_means_the_same_when_docker_reads_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    found, faults = read_environment({}, path)
    assert faults == ()
    assert found == as_docker_reads(text)
    assert not re.search(r"^\s*export\b", text, re.MULTILINE)
    project = accounts_of(found)
    assert [account.name for account in project.upload.accounts] == ["A", "B", "C"]
    assert project.debug == path.name.endswith(".example")


def test_a_commented_setting_of_the_example_is_valid_when_it_is_uncommented(account_json: Callable[..., str]) -> None:
    lines = SHIPPED[0].read_text(encoding="utf-8").splitlines()
    offered = as_docker_reads("\n".join(line[1:] for line in lines if re.match(r"#[A-Z_]+=", line)))
    assert {"UPLOAD_TOKENS", "SECRET_KEY", "DEBUG", "DATABASE_URL"} <= set(offered)
    project = read_settings({**offered, "AWS_ACCOUNT_A": account_json()})
    example = "is an example that everyone can read; use a random one"
    assert project.faults == (f"SECRET_KEY: {example}", f"UPLOAD_TOKENS: entry 1 has a token that {example}")
    random = {"SECRET_KEY": token_urlsafe(40), "UPLOAD_TOKENS": json.dumps({"me": token_urlsafe(16)})}
    accounts_of({**offered, **random, "AWS_ACCOUNT_A": account_json()})

"""`make demo` from outside: what it prints, how it ends, and that no process is left."""

import signal
import socket
import subprocess
from pathlib import Path

import pytest

from testkit.ports import free_port
from tests.service.conftest import StartProgram


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    return {"DEMO_PORT": str(free_port()), "DEMO_FOLDER": str(tmp_path / "demo")}


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Its output up to the line with these words; all of it if there is none."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            break
    return said


def refusal(process: subprocess.Popen[str]) -> str:
    """The only line of a demo that does not start."""
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    [line] = errors.splitlines()
    return line


@pytest.mark.timeout(240)
def test_every_account_gives_both_files_back_behind_a_proxy_and_everything_stops_when_ctrl_c_is_pressed(
    start_program: StartProgram, settings: dict[str, str]
) -> None:
    # Nothing listens there.
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    process = start_program("demo", **settings, **proxies)
    output = read_until(process, "Ctrl-C")
    second = start_program("demo", **settings | {"DEMO_PORT": str(free_port())})
    assert "another demo is running in" in second.communicate(timeout=60)[1]
    assert second.returncode == 1
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "Stopped" in rest
    assert output.count("matches") == 6
    assert "DIFFERS" not in output
    for line in (
        "Account B refused our credentials: its secret_access_key does not belong to its access_key_id",
        "B is down:  A stored, B pending, C stored",
        "it is back: A has it, B has it, C has it",
        "DELETE:     erased; A has nothing, B has nothing, C has nothing",
        "killed:    unfinished uploads: A 1, B 1, C 1",
        "restarted: unfinished uploads: A 0, B 0, C 0",
        "curl -F file=@README.md",
    ):
        assert line in output


def test_everything_stops_and_the_run_has_failed_when_ctrl_c_is_pressed_in_the_middle(
    start_program: StartProgram, settings: dict[str, str]
) -> None:
    process = start_program("demo", **settings, DEMO_EXIT="1")
    read_until(process, "Uploading")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert "Stopped" in output


def test_one_line_says_why_when_the_port_is_in_use(start_program: StartProgram, settings: dict[str, str]) -> None:
    port = settings["DEMO_PORT"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(port)))
        taken.listen()
        line = refusal(start_program("demo", **settings, DEMO_EXIT="1"))
    assert line == f"demo: port {port} is not available (Address already in use); free it, or set DEMO_PORT"


def test_one_line_says_why_when_the_folder_is_not_empty(start_program: StartProgram, settings: dict[str, str]) -> None:
    folder = Path(settings["DEMO_FOLDER"])
    (folder / "stores").mkdir(parents=True)
    (folder / "stores" / "thesis").write_text("not the demo's")
    line = refusal(start_program("demo", **settings, DEMO_EXIT="1"))
    assert line == f"demo: {folder} has files that are not from the demo; empty it, or set DEMO_FOLDER"
    assert [path.relative_to(folder) for path in folder.rglob("*")] == [Path("stores"), Path("stores/thesis")]
    assert (folder / "stores" / "thesis").read_text() == "not the demo's"


def test_one_line_says_why_when_the_folder_cannot_be_made(start_program: StartProgram, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "demo")
    line = refusal(start_program("demo", DEMO_PORT=str(free_port()), DEMO_FOLDER=folder, DEMO_EXIT="1"))
    assert line == f"demo: the folder {folder} cannot be used (Not a directory); set DEMO_FOLDER"


def test_one_line_says_why_when_the_start_fails(start_program: StartProgram, settings: dict[str, str]) -> None:
    process = start_program("demo", **settings, DEMO_EXIT="1", CORS_ORIGINS="no-origin")  # a wrong setting
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    [line] = errors.splitlines()
    assert line.startswith("demo: the service did not start: ")
    assert "CORS_ORIGINS" in line

"""`make demo`, from outside: what it prints, how it ends, and that nothing runs on after it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testkit.ports import free_port
from testkit.processes import start_process
from tests.processes import processes_with

ROOT = Path(__file__).resolve().parents[2]
MARK = "MENTUM_TEST_DEMO"


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a demo runs in; every process that it starts carries the mark, by which one left behind is found."""
    mark = str(tmp_path)
    yield {**os.environ, "DEMO_PORT": str(free_port()), "DEMO_FOLDER": str(tmp_path / "demo"), MARK: mark}
    left = processes_with(MARK, mark)
    for process_id in left:
        os.kill(process_id, signal.SIGKILL)
    assert not left


def demo(environment: dict[str, str], **more: str) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = start_process(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env=environment | more,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return process


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """What it says, up to the line with these words; all of it if there is none."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            break
    return said


@pytest.mark.timeout(240)
def test_every_account_gives_both_files_back_behind_a_proxy_and_everything_stops_when_ctrl_c_is_pressed(
    environment: dict[str, str],
) -> None:
    # Nothing listens there: whatever is sent to it is lost.
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    process = demo(environment, **proxies)
    output = read_until(process, "Ctrl-C")
    second = demo(environment, DEMO_PORT=str(free_port()))
    assert "another demo is running in" in second.communicate(timeout=60)[1]
    assert second.returncode == 1
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "Stopped" in rest
    assert output.count("matches") == 6
    assert "DIFFERS" not in output
    assert "Account B refused our credentials: its secret_access_key does not belong to its access_key_id" in output
    assert "B is down:  A stored, B pending, C stored" in output
    assert "it is back: A has it, B has it, C has it" in output
    assert "DELETE:     erased; A has nothing, B has nothing, C has nothing" in output
    assert "killed:    unfinished uploads: A 1, B 1, C 1" in output
    assert "restarted: unfinished uploads: A 0, B 0, C 0" in output
    assert "curl -F file=@README.md" in output


def test_everything_stops_and_the_run_has_failed_when_ctrl_c_is_pressed_in_the_middle(
    environment: dict[str, str],
) -> None:
    """As in the pipeline, where a demo that was cut short shows nothing."""
    process = demo(environment, DEMO_EXIT="1")
    read_until(process, "Uploading")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")
    assert "Stopped" in output


def test_one_line_says_why_when_the_port_is_in_use(environment: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(environment["DEMO_PORT"])))
        taken.listen()
        process = demo(environment, DEMO_EXIT="1")
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output == ""
    assert errors.splitlines() == [
        f"demo: port {environment['DEMO_PORT']} is not available (Address already in use); free it, or set DEMO_PORT"
    ]


def test_one_line_says_why_when_the_folder_is_somebody_elses(environment: dict[str, str]) -> None:
    folder = Path(environment["DEMO_FOLDER"])
    (folder / "stores").mkdir(parents=True)
    (folder / "stores" / "thesis").write_text("not the demo's")
    process = demo(environment, DEMO_EXIT="1")
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors.splitlines() == [f"demo: {folder} has files that are not from the demo; empty it, or set DEMO_FOLDER"]
    assert [path.relative_to(folder) for path in folder.rglob("*")] == [Path("stores"), Path("stores/thesis")]
    assert (folder / "stores" / "thesis").read_text() == "not the demo's"


def test_one_line_says_why_when_the_folder_cannot_be_made(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = demo(environment, DEMO_EXIT="1", DEMO_FOLDER=str(tmp_path / "file" / "demo"))
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors.splitlines() == [
        f"demo: the folder {tmp_path / 'file' / 'demo'} cannot be used (Not a directory); set DEMO_FOLDER"
    ]


def test_one_line_says_why_and_nothing_runs_on_when_the_start_fails(environment: dict[str, str]) -> None:
    process = demo(environment, DEMO_EXIT="1", CORS_ORIGINS="no-origin")  # a setting that stops the start
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    [line] = errors.splitlines()
    assert line.startswith("demo: the service did not start: ")
    assert "CORS_ORIGINS" in line

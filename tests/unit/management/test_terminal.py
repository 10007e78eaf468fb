"""What a command writes to a terminal and to a pipe: rich draws only on a terminal."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from file.management.terminal import Table
from testkit.processes import ROOT, start_process
from tests.databases import sqlite_copy
from tests.unit.ledger.commands import environment, run_python, sqlite_url
from tests.unit.ledger.rows import make_file

SET_UP = "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'mentumfileupload.settings'; django.setup()"
TABLE = Table(("account", "stored", "last error"), [("A", "12", "-"), ("LONGNAME", "3", "busy")], numbers=("stored",))


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite3"
    with sqlite_copy(path) as alias:
        make_file(alias, "k1", {"A": "stored"})
    return path


def run_on_terminal(*arguments: str, stream: str, **changes: str) -> tuple[int, str, str]:
    """Exit code, output to the terminal (which is `stream`), and output to the pipe."""
    ours, theirs = pty.openpty()
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    env = {**kept, "UPLOAD_ENV_FILE": "", "TERM": "xterm", "COLUMNS": "100", **changes}
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: theirs}
    with start_process([sys.executable, *arguments], cwd=ROOT, env=env, text=True, **streams) as process:
        os.close(theirs)
        drawn = b""
        try:
            while piece := os.read(ours, 65536):
                drawn += piece
        except OSError:  # Linux: the other side is closed
            pass
        finally:
            os.close(ours)
        out, err = process.communicate(timeout=60)
    return process.returncode, drawn.decode(), out or err or ""


def test_a_table_is_plain_text_in_aligned_columns_when_it_is_piped() -> None:
    assert list(TABLE.lines()) == [
        "account   stored  last error",
        "A             12  -",
        "LONGNAME       3  busy",
    ]


def test_a_table_is_not_cut_when_it_is_piped() -> None:
    assert list(Table(("account",), [("x" * 500,)]).lines())[1] == "x" * 500


@pytest.mark.parametrize("colour", [{}, {"NO_COLOR": "1"}])
def test_a_table_is_drawn_when_it_goes_to_a_terminal(colour: Mapping[str, str], ledger: Path) -> None:
    code, drawn, errors = run_on_terminal(
        "manage.py", "accounts", stream="stdout", **environment(sqlite_url(ledger)), **colour
    )
    assert (code, errors) == (0, "")
    assert "───" in drawn
    assert "files-a" in drawn


@pytest.mark.parametrize(("changes", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_signs_have_colours_unless_they_are_refused(changes: Mapping[str, str], coloured: bool) -> None:
    draw = "from file.management.terminal import Table; Table(('', 'A'), [('put', '✗')]).draw(no_color=False)"
    code, drawn, errors = run_on_terminal("-c", f"{SET_UP}; {draw}", stream="stdout", **changes)
    assert (code, errors) == (0, "")
    assert "✗" in drawn
    assert ("\x1b[1;31m" in drawn) is coloured


def back_up(ledger: Path, *options: str) -> tuple[int, str, str]:
    command = ("manage.py", "ledger", "backup", f"{ledger}-copy", *options)
    return run_on_terminal(*command, stream="stderr", **environment(sqlite_url(ledger)))


def test_progress_goes_to_the_terminal_and_the_result_to_the_pipe(ledger: Path) -> None:
    code, drawn, result = back_up(ledger)
    assert code == 0
    assert "pages" in drawn
    assert result.startswith("Copied the ledger to ")
    assert "\x1b" not in result


def test_no_progress_is_shown_when_the_result_is_json(ledger: Path) -> None:
    code, drawn, result = back_up(ledger, "--json")
    assert (code, drawn) == (0, "")
    assert set(json.loads(result)) == {"file", "bytes", "seconds"}


def test_the_service_does_not_import_rich() -> None:
    script = f"{SET_UP}; import file.management.commands.runserver, mentumfileupload.asgi; print('rich' in sys.modules)"
    run = run_python("sqlite:///ledger.sqlite3", "-c", script)
    assert (run.returncode, run.stdout) == (0, "False\n"), run.stderr

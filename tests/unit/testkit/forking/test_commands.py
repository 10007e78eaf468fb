"""A forked command behaves as one that Python starts by itself, and ends with the process that asked for it."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from testkit.forking.commands import Forked, ForkServer, run_python, start_python
from testkit.processes import ROOT, run_process, start_process
from tests.processes import Watched, processes_with

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems start each command by itself")

STAY = "import signal, time; print('ready', flush=True); time.sleep(60)"
MARK = "MENTUM_TEST_FORKS"


@pytest.fixture(scope="module")
def server() -> ForkServer:
    return ForkServer()


def forked(server: ForkServer, program: str, log: Path, *arguments: str, **environment: str) -> Forked:
    with log.open("wb") as output:
        return server.start([*arguments, "-c", program], environment, output, output, new_session=True)


def wait_for_line(log: Path) -> None:
    deadline = time.monotonic() + 60
    while not log.exists() or b"\n" not in log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-c", "import sys; print(sys.argv)", "a", "b"],
        ["-c", "import os; print(sorted(os.environ))"],
        ["-c", "import sys; sys.exit(7)"],
        ["-c", "import sys; sys.exit('one line')"],
        ["-c", "1 / 0"],
        ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"],
        ["-c", "import atexit; atexit.register(print, 'last')"],
        ["-c", "import signal; print([signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)])"],
        ["-c", "import os; print(os.listdir('/proc/self/fd')[:3], len(os.listdir('/proc/self/fd')))"],
        ["-W", "error", "-c", "import warnings; warnings.warn('is an error')"],
        ["-m", "platform"],
        ["manage.py", "check"],
        ["manage.py", "nonsense"],
    ],
    ids=" ".join,
)
def test_what_it_writes_and_its_exit_code_are_the_same_when_it_is_forked(arguments: list[str], tmp_path: Path) -> None:
    told = {"UPLOAD_ENV_FILE": "", "PATH": os.environ["PATH"], "LC_CTYPE": "C.UTF-8"}
    told |= {"DEBUG": "true", "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.sqlite3'}"}
    by_itself = run_process([sys.executable, *arguments], cwd=ROOT, env=told, capture_output=True, text=True)
    run = run_python(*arguments, **told)
    assert (run.returncode, run.stdout) == (by_itself.returncode, by_itself.stdout)
    assert run.stderr.splitlines()[-1:] == by_itself.stderr.splitlines()[-1:]


def test_each_command_has_its_own_exit_code_when_many_run_at_once(server: ForkServer, tmp_path: Path) -> None:
    commands = [forked(server, f"import sys; sys.exit({code})", tmp_path / "log") for code in range(20)]
    assert [command.wait(60) for command in commands] == list(range(20))
    assert [command.poll() for command in commands] == list(range(20))


def test_a_signal_reaches_it_when_it_runs(server: ForkServer, tmp_path: Path) -> None:
    command = forked(server, STAY, tmp_path / "log")
    wait_for_line(tmp_path / "log")
    assert command.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        command.wait(0.01)
    assert os.getsid(command.pid) == command.pid
    command.send_signal(signal.SIGTERM)
    assert command.wait(60) == -signal.SIGTERM
    command.kill()  # nothing is left that could be killed


def test_it_is_started_by_itself_when_that_is_asked_for(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        command = start_python(["-c", "pass"], {}, log, cold=True)
    assert isinstance(command, subprocess.Popen)
    assert command.wait(60) == 0


def test_it_ends_when_the_process_that_asked_for_it_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from testkit.forking.commands import ForkServer\n"
        "with open(sys.argv[1], 'wb') as log: ForkServer().start(['-c', sys.argv[2]], {}, log, log)\n"
        "time.sleep(60)"
    )
    environment = {**os.environ, MARK: str(tmp_path)}
    asking = start_process([sys.executable, "-c", program, str(tmp_path / "log"), STAY], cwd=ROOT, env=environment)
    with ExitStack() as watching:
        watching.callback(asking.wait)
        watching.callback(asking.kill)
        wait_for_line(tmp_path / "log")
        watched = Watched(processes_with(MARK, str(tmp_path)), watching)
        asking.kill()
        assert watched.running(60) == []

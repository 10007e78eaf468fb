"""Installation: the requirements, a Python that is too old or absent, and the image."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.processes import run_process

ROOT = Path(__file__).resolve().parents[3]
COMPILED = ("requirements.txt", "requirements/run.txt", "requirements/bench.txt")
WRITTEN = ("requirements/run.in", "requirements/test.in")
BENCH = "requirements/bench.in"

Make = Callable[[str | None], str]


def pins(path: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Name to version and hashes."""
    logical_lines = re.sub(r"\\\n", " ", (ROOT / path).read_text()).splitlines()
    found = {}
    for line in logical_lines:
        if line.strip() and not line.lstrip().startswith("#"):
            name, version = re.match(r"([a-z0-9-]+)==(\S+)", line).groups()  # type: ignore[union-attr]
            found[name] = (version, frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", line)))
    return found


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Runs `make test` with this Python and a new environment; returns the only line that make's commands printed."""

    def run(python: str | None) -> str:
        fake = tmp_path / "python"
        if python is not None:
            fake.write_text(f"#!{sys.executable}\n{python}")
            fake.chmod(0o755)
        command = ["make", "test", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        done = run_process(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode != 0
        (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
        return str(line)

    return run


def python_that_says(version: tuple[int, int], *, without: str = "") -> str:
    return f"""
import sys
if sys.argv[1] == "-V":
    print("Python {version[0]}.{version[1]}.9")
elif sys.argv[1] == "-c":
    sys.version_info = ({version[0]}, {version[1]}, 9)
    if {without!r}:
        sys.modules[{without!r}] = None
    exec(sys.argv[2])
else:
    sys.exit("the checks do not call Python like this")
"""


def test_every_run_time_pin_is_in_the_whole_set() -> None:
    run_time, whole = pins("requirements/run.txt"), pins("requirements.txt")
    assert run_time
    assert {name: whole.get(name) for name in run_time} == run_time


@pytest.mark.parametrize("path", COMPILED)
def test_every_pin_has_hashes_when_it_is_compiled(path: str) -> None:
    assert [name for name, (_, hashes) in pins(path).items() if not hashes] == []


@pytest.mark.parametrize(
    ("compiled", "written"),
    [("requirements/run.txt", WRITTEN[:1]), ("requirements.txt", WRITTEN), ("requirements/bench.txt", (BENCH,))],
)
def test_every_requirement_is_pinned_when_it_is_compiled(compiled: str, written: tuple[str, ...]) -> None:
    text = "\n".join((ROOT / path).read_text() for path in written)
    asked = set(re.findall(r"^([a-z][a-z0-9-]*)", text, re.MULTILINE))
    assert asked <= set(pins(compiled))


@pytest.mark.parametrize("path", [*COMPILED, *WRITTEN, BENCH])
def test_no_requirements_file_names_a_host_or_folder(path: str) -> None:
    text = (ROOT / path).read_text()
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|^\s*-[if]\b|@ ", text, re.MULTILINE)


def test_the_image_installs_only_the_run_time_requirements() -> None:
    (install,) = re.findall(r"pip install .*", (ROOT / "Dockerfile").read_text())
    assert install.endswith("--require-hashes --only-binary :all: -r requirements/run.txt")


@pytest.mark.parametrize("version", [(3, 8), (3, 10)])
def test_make_gives_the_reason_in_one_line_when_python_is_too_old(make: Make, version: tuple[int, int]) -> None:
    line = make(python_that_says(version))
    assert f"Python {version[0]}.{version[1]}.9 is too old" in line
    assert "3.10 reached its end of life in October 2026" in line
    assert "the HTTP client needs 3.11" in line


def test_make_names_the_package_in_one_line_when_python_cannot_make_environments(make: Make) -> None:
    assert "apt-get install python3-venv" in make(python_that_says((3, 12), without="ensurepip"))


def test_make_says_so_in_one_line_when_there_is_no_python(make: Make) -> None:
    assert "install Python 3.11 or newer" in make(None)

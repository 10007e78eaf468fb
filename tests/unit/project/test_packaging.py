"""What somebody meets who installs the project: the requirements, the old Python, the folder that becomes the image."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from testkit.processes import run_process

ROOT = Path(__file__).resolve().parents[3]
COMPILED = ("requirements.txt", "requirements/run.txt", "requirements/bench.txt")
WRITTEN = ("requirements/run.in", "requirements/test.in")
BENCH = "requirements/bench.in"

Make = Callable[[str], subprocess.CompletedProcess[str]]


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
def make(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`make` with a Python that says of itself what the test wants, and an environment that is not there yet."""

    def run(python: str) -> subprocess.CompletedProcess[str]:
        fake = tmp_path / "python"
        fake.write_text(f"#!{sys.executable}\n{python}")
        fake.chmod(0o755)
        variables = (f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return run_process(
            ["make", "test", *variables], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )

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
    sys.exit("more was asked of this Python than the checks ask")
"""


def test_every_run_time_pin_is_a_pin_of_the_whole_when_the_halves_are_compared() -> None:
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
def test_everything_asked_for_is_pinned_when_it_is_compiled(compiled: str, written: tuple[str, ...]) -> None:
    text = "\n".join((ROOT / path).read_text() for path in written)
    asked = set(re.findall(r"^([a-z][a-z0-9-]*)", text, re.MULTILINE))
    assert asked <= set(pins(compiled))


@pytest.mark.parametrize("path", [*COMPILED, *WRITTEN, BENCH])
def test_no_host_or_folder_is_named_when_a_requirements_file_is_read(path: str) -> None:
    text = (ROOT / path).read_text()
    assert not re.search(r"https?:|file:|--(extra-)?index-url|--find-links|^\s*-[if]\b|@ ", text, re.MULTILINE)


def test_the_image_installs_the_run_time_half_only_when_it_is_built() -> None:
    installs = re.findall(r"pip install .*", (ROOT / "Dockerfile").read_text())
    assert len(installs) == 1
    assert installs[0].endswith("--require-hashes --only-binary :all: -r requirements/run.txt")


@pytest.mark.parametrize("version", [(3, 8), (3, 10)])
def test_make_says_why_in_one_line_when_the_python_is_too_old(make: Make, version: tuple[int, int]) -> None:
    done = make(python_that_says(version))
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert len(said) == 1
    assert f"Python {version[0]}.{version[1]}.9 is too old" in said[0]
    assert "3.10 reached its end of life in October 2026" in said[0]
    assert "the HTTP client needs 3.11" in said[0]


def test_make_names_the_package_in_one_line_when_python_cannot_make_environments(make: Make) -> None:
    done = make(python_that_says((3, 12), without="ensurepip"))
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert len(said) == 1
    assert "apt-get install python3-venv" in said[0]


def test_make_says_so_in_one_line_when_there_is_no_python(tmp_path: Path) -> None:
    done = run_process(
        ["make", "test", f"PYTHON={tmp_path / 'nothing'}", f"VENV={tmp_path / 'venv'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode != 0
    assert len(said) == 1
    assert "install Python 3.11 or newer" in said[0]

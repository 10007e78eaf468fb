"""The two native tools of `bench/native/`: compiled before their first use, and again when their source changes."""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError, ContestantError
from bench.figures import Load, Work
from bench.folders import MADE, NATIVE
from testkit.processes import run_process

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-pthread")
_COMPILERS = ("cc", "gcc", "clang")


def compiler() -> str | None:
    """The path of a C compiler, or None."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def build(name: str, folder: Path | None = None) -> Path:
    """Compiles the tool `nulls3` or `load`. Raises `BenchError` if this fails."""
    folder = MADE / "native" if folder is None else folder
    source = NATIVE / f"{name}.c"
    sources = [*sorted(NATIVE.glob("*.h")), source]
    written = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:12]
    built = folder / f"{name}-{written}"
    if built.exists():
        return built
    found = compiler()
    if found is None:
        raise BenchError("there is no C compiler here (cc): on Debian and Ubuntu apt-get install gcc libc6-dev")
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = built.with_suffix(f".{os.getpid()}")
    done = run_process([found, *FLAGS, "-o", unfinished, source], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{source.name} does not compile:\n{done.stderr.strip()}")
    unfinished.replace(built)  # atomic, because another process may build it at the same time
    return built


def run_load(
    tool: Path, port: int, path: str, work: Work, *, headers: Sequence[str] = (), is_form: bool = False
) -> Load:
    """Uploads to a server on loopback. Raises `ContestantError` if the server cannot be reached."""
    options: list[str | Path] = [tool, "--port", str(port), "--path", path, "--size", str(work.size)]
    options += ["--at-once", str(work.at_once), "--seconds", str(work.seconds), "--limit", str(work.limit_seconds)]
    if work.requests is not None:
        options += ["--requests", str(work.requests)]
    if is_form:
        options.append("--form")
    for header in headers:
        options += ["--header", header]
    done = run_process(options, capture_output=True, text=True, timeout=work.limit_seconds + 30)
    if done.returncode not in (0, 1):
        raise ContestantError(done.stderr.strip() or f"the load generator ended with {done.returncode}")
    return load_of(done.stdout)


def load_of(line: str) -> Load:
    """The line of JSON that the tool printed."""
    told = json.loads(line)
    del told["mb_per_second"]
    return Load(**told)

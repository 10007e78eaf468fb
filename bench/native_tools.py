"""The two native tools of `bench/native/`: compiled before their first use, and again when their source changes.

`nulls3` is compiled with TLS only for those who ask for it, because this needs OpenSSL's headers.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError, ContestantError, MissingLibraryError
from bench.figures import Load, Work
from bench.folders import MADE, NATIVE
from testkit.processes import run_process

FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra", "-pthread")
TLS_FLAGS = ("-DWITH_TLS",)
TLS_LIBRARIES = ("-lssl", "-lcrypto")
_COMPILERS = ("cc", "gcc", "clang")


def compiler() -> str | None:
    """The path of a C compiler, or None."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


def build(name: str, folder: Path | None = None, *, with_tls: bool = False) -> Path:
    """Compiles the tool `nulls3` or `load`, `with_tls` only `nulls3`.

    Raises `BenchError` if this fails, `MissingLibraryError` if OpenSSL is missing.
    """
    folder = MADE / "native" if folder is None else folder
    source = NATIVE / f"{name}.c"
    sources = [*sorted(NATIVE.glob("*.h")), source]
    written = hashlib.sha256(b"".join(each.read_bytes() for each in sources)).hexdigest()[:12]
    built = folder / f"{name}{'-tls' if with_tls else ''}-{written}"
    if built.exists():
        return built
    found = compiler()
    if found is None:
        raise BenchError("there is no C compiler here (cc): on Debian and Ubuntu apt-get install gcc libc6-dev")
    if with_tls and not _has_openssl(found):
        raise MissingLibraryError(
            "OpenSSL cannot be compiled with here: on Debian and Ubuntu apt-get install libssl-dev"
        )
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = built.with_suffix(f".{os.getpid()}")
    flags, libraries = ((*FLAGS, *TLS_FLAGS), TLS_LIBRARIES) if with_tls else (FLAGS, ())
    done = run_process([found, *flags, "-o", unfinished, source, *libraries], capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"{source.name} does not compile:\n{done.stderr.strip()}")
    unfinished.replace(built)  # atomic, because another process may build it at the same time
    return built


def _has_openssl(compiler_path: str) -> bool:
    """Whether its headers and its libraries are found, by compiling an empty program with them."""
    command = [compiler_path, "-include", "openssl/ssl.h", "-x", "c", "-", "-o", "/dev/null", *TLS_LIBRARIES]
    done = run_process(command, input="int main(void) { return 0; }", capture_output=True, text=True)
    return done.returncode == 0


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

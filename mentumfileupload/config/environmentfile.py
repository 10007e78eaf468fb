"""The process's environment and the .env file, as one mapping; the environment wins.

Promises: nothing is written back to the environment, so a child process does not inherit what only the file says; a
line that cannot be read is a fault with its number, never its text. django-environ reads the file.
"""

import io
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import environ  # type: ignore[import-untyped]

from mentumfileupload.config.texts import read_text_file

VARIABLE = "UPLOAD_ENV_FILE"

# The lines that django-environ understands (its own expression).
_LINE = re.compile(r"(?:export )?([A-Za-z_0-9]+)=(.*)")


def read_environment(process: Mapping[str, str], default_file: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables, and the faults of the file. `UPLOAD_ENV_FILE` names another file; empty, it means no file."""
    environment = dict(process)
    named = process.get(VARIABLE)
    if named is not None and not named.strip():
        return environment, ()
    path = Path(named) if named else default_file
    if not named and not path.exists():
        return environment, ()
    try:
        text = read_text_file(str(path))
    except OSError as error:
        return environment, (f"{VARIABLE}: the file cannot be read ({error.strerror or type(error).__name__})",)
    except ValueError:
        return environment, (f"{VARIABLE}: the file is not UTF-8 text",)
    lines, faults = _readable_lines(text, path.name)

    class FileAndEnvironment(environ.Env):  # type: ignore[misc]
        ENVIRON = environment

    # Its logger repeats the values that it read.
    logging.getLogger("environ.environ").setLevel(logging.ERROR)
    FileAndEnvironment.read_env(io.StringIO("\n".join(lines)))
    if VARIABLE in environment and VARIABLE not in process:
        del environment[VARIABLE]
        faults.append(f"{VARIABLE}: is set in a .env file; set it in the environment")
    return environment, tuple(faults)


def _readable_lines(text: str, file_name: str) -> tuple[list[str], list[str]]:
    """The lines that set a variable; and a fault for each other line, and for each variable that is set again."""
    lines: list[str] = []
    faults: list[str] = []
    first_lines: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = _LINE.fullmatch(line.rstrip())
        if not found:
            faults.append(f"{file_name} line {number}: is not NAME=value, without spaces around the =")
            continue
        first = first_lines.setdefault(found[1], number)
        if first != number:
            faults.append(f"{file_name} line {number}: sets {found[1]} again, after line {first}")
        lines.append(found[0])
    return lines, faults

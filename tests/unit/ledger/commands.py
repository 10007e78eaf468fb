"""`manage.py` on the test's own ledger, as users run it; it sees no other environment."""

import json
import subprocess
from pathlib import Path
from urllib.parse import quote

from django.conf import settings

from testkit.forking import commands

ACCOUNT = json.dumps(
    {
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": "SECRET-of-the-account",
        "region_name": "eu-central-1",
        "s3_bucket_name": "files-a",
        "endpoint_url": "http://127.0.0.1:9",
        "allow_http": True,
    }
)


def environment(database_url: str) -> dict[str, str]:
    """Enough for the service to start: one account at an address where no server listens."""
    return {
        "DATABASE_URL": database_url,
        "AWS_ACCOUNT_A": ACCOUNT,
        "SECRET_KEY": settings.SECRET_KEY,  # as the services in the tests' own process have it
        "ALLOWED_HOSTS": "files.example,127.0.0.1",
        "UPLOAD_OPEN": "true",
    }


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{quote(str(path))}"


def run_python(database_url: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return commands.run_python("-W", "error", *arguments, **{**environment(database_url), **changes})


def run_manage(database_url: str, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return run_python(database_url, "manage.py", *arguments, **changes)

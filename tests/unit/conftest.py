"""What the tests of the settings share: one account's JSON, and `manage.py` run as its users run it.

A run sees only what the test says: no .env file of whoever runs the tests, and nothing of their environment.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mentumfileupload.config.uploadsettings import ProjectSettings, read_settings
from testkit import processes

Run = subprocess.CompletedProcess[str]


@pytest.fixture
def account_json() -> Callable[..., str]:
    """The JSON of an account without a fault; keywords change it, None takes a key out."""

    def write(**changes: Any) -> str:
        account = {
            "access_key_id": "AKIAEXAMPLE",
            "secret_access_key": "$ecret/with+signs=",
            "region_name": "eu-central-1",
            "s3_bucket_name": "files-a",
        }
        return json.dumps({key: value for key, value in {**account, **changes}.items() if value is not None})

    return write


@pytest.fixture
def read(account_json: Callable[..., str]) -> Callable[..., ProjectSettings]:
    """The settings of a service that has one account without a fault, and what the keywords say."""

    def settings(**changes: str) -> ProjectSettings:
        return read_settings({"DEBUG": "true", "AWS_ACCOUNT_A": account_json(), **changes})

    return settings


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., Run]:
    def run(*arguments: str, **environment: str) -> Run:
        told = {"DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite3", **environment}
        return processes.run_python(*arguments, **told)

    return run


@pytest.fixture
def manage(run_python: Callable[..., Run]) -> Callable[..., Run]:
    def run(*arguments: str, **environment: str) -> Run:
        return run_python("manage.py", *arguments, **environment)

    return run

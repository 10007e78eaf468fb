"""An account's JSON, settings, and runs of `manage.py` that see no .env file and only the variables of the test."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mentumfileupload.config.uploadsettings import ProjectSettings, read_settings
from testkit.forking import commands

Run = subprocess.CompletedProcess[str]


@pytest.fixture
def account_json() -> Callable[..., str]:
    """The JSON of a valid account; keywords change it, None removes a key."""

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
    """The settings of a service with one valid account; keywords are further variables."""

    def settings(**changes: str) -> ProjectSettings:
        return read_settings({"DEBUG": "true", "AWS_ACCOUNT_A": account_json(), **changes})

    return settings


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., Run]:
    def run(*arguments: str, **environment: str) -> Run:
        database = {"DATABASE_URL": f"sqlite:///{tmp_path}/ledger.sqlite3"}
        return commands.run_python(*arguments, **{**database, **environment})

    return run


@pytest.fixture
def manage(run_python: Callable[..., Run]) -> Callable[..., Run]:
    def run(*arguments: str, **environment: str) -> Run:
        return run_python("manage.py", *arguments, **environment)

    return run

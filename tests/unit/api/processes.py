"""A service in a process of its own whose one account is not there: for what needs no account."""

import json
from pathlib import Path

from testkit.serviceprocess import ServerProcess
from tests.serving import TOKEN, free_port

_ACCOUNT = {
    "access_key_id": "id",
    "secret_access_key": "secret",
    "region_name": "eu-central-1",
    "s3_bucket_name": "bucket-a",
    "endpoint_url": "https://127.0.0.1:1",
}


def service_alone(folder: Path, **environment: str) -> ServerProcess:
    """Not started yet."""
    told = {
        "DEBUG": "true",
        "DATABASE_URL": f"sqlite:///{folder}/ledger.sqlite3",
        "UPLOAD_TOKENS": json.dumps({"tests": TOKEN}),
        "AWS_ACCOUNT_A": json.dumps(_ACCOUNT),
    }
    return ServerProcess(free_port(), {**told, **environment}, folder / "service.log")

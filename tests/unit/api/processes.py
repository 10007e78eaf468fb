"""A service in a process of its own whose one account is not there: for what needs no account."""

import json
from pathlib import Path

from testkit.serviceprocess import ServiceProcess

_ACCOUNT = {
    "access_key_id": "id",
    "secret_access_key": "secret",
    "region_name": "eu-central-1",
    "s3_bucket_name": "bucket-a",
    "endpoint_url": "https://127.0.0.1:1",
}


def service_alone(folder: Path, **environment: str) -> ServiceProcess:
    """Not started yet."""
    return ServiceProcess(folder, (), {"DEBUG": "true", "AWS_ACCOUNT_A": json.dumps(_ACCOUNT), **environment})

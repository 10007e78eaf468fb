"""Reads the accounts from the environment, and creates a boto3 client for one."""

import json
import os
from typing import Any

import boto3  # type: ignore[import-untyped,unused-ignore]
from botocore.config import Config  # type: ignore[import-untyped,unused-ignore]

Account = dict[str, str]
ACCOUNTS: list[Account] = json.loads(os.environ["BENCH_ACCOUNTS"])


def new_client(account: Account, *, connections: int = 10) -> Any:
    session = boto3.session.Session(
        aws_access_key_id=account["access_key_id"],
        aws_secret_access_key=account["secret_access_key"],
        region_name=account["region_name"],
    )
    config = Config(s3={"addressing_style": "path"}, max_pool_connections=connections)
    return session.client("s3", endpoint_url=account["endpoint_url"], config=config)

"""aiobotocore: one open client per account; one PutObject per file, read from the disk while it is sent."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from bench.direct.task import Task, run


async def upload_all(task: Task) -> None:
    async with AsyncExitStack() as stack:
        clients: dict[str, Any] = {}
        for account in task.accounts:
            client = get_session().create_client(
                "s3",
                aws_access_key_id=account["access_key_id"],
                aws_secret_access_key=account["secret_access_key"],
                region_name=account["region_name"],
                endpoint_url=account["endpoint_url"],
                config=AioConfig(s3={"addressing_style": "path"}, max_pool_connections=max(10, task.at_once)),
            )
            clients[account["name"]] = await stack.enter_async_context(client)

        async def put(account: dict[str, str], key: str) -> None:
            with task.path.open("rb") as body:
                await clients[account["name"]].put_object(Bucket=account["s3_bucket_name"], Key=key, Body=body)

        await run(task, put)


if __name__ == "__main__":
    asyncio.run(upload_all(Task.from_arguments()))

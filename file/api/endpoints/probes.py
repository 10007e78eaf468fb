"""For operators: /_/health, /_/ready, /_/accounts."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from file.api.requests import Request
from file.api.responses import error_json, json_response
from file.logic.accounts.registry import Registry
from file.logic.errors import AccountError
from file.logic.ports import StorageAccount

_CACHED_SECONDS = 5.0


async def health(request: Request, *, version: str) -> Response:
    """Is the process alive? Asks nothing else."""
    return json_response({"data": {"status": "ok", "version": version}})


async def ready(request: Request, *, is_ready: Callable[[], bool]) -> Response:
    """May the load balancer send requests? An account that is down does not matter."""
    return Response(status_code=HTTPStatus.OK if is_ready() else HTTPStatus.SERVICE_UNAVAILABLE)


async def accounts(request: Request, *, states: "AccountStates") -> Response:
    return json_response({"accounts": await states.read()})


class AccountStates:
    """The state of each account. The accounts are asked once in some seconds, however many clients ask."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._lock = asyncio.Lock()
        self._states: dict[str, Any] = {}
        self._asked = -_CACHED_SECONDS

    async def read(self) -> dict[str, Any]:
        """The state by account name; all accounts are asked at the same time."""
        async with self._lock:
            if time.monotonic() - self._asked >= _CACHED_SECONDS:
                asked = self._registry.storages
                states = await asyncio.gather(*map(self._state, asked))
                self._states = {bucket.account.name: state for bucket, state in zip(asked, states, strict=True)}
                self._asked = time.monotonic()
            return self._states

    async def _state(self, bucket: StorageAccount) -> dict[str, Any]:
        account = bucket.account
        state: dict[str, Any] = {"bucket": account.s3_bucket_name, "region": account.region_name}
        try:
            await bucket.probe()
        except AccountError as error:
            return {"status": "failing", **state, "error": error_json(error)}
        return {"status": "ok", **state}

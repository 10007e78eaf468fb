"""The accounts of one server: their keys, and the buckets of each (weed's `identities.json`)."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

from testkit.account import StoreAccount
from testkit.ports import HOST

_ACTIONS = ("Read", "List", "Tagging", "Write", "Admin")


def new_account(name: str, region_name: str, port: int) -> StoreAccount:
    """An account with random keys, and a bucket named after it."""
    return StoreAccount(
        name=name,
        access_key_id=f"AK{secrets.token_hex(9).upper()}",
        secret_access_key=secrets.token_urlsafe(30),
        region_name=region_name,
        s3_bucket_name=f"bucket-{name.lower().replace('_', '-')}",
        endpoint_url=f"http://{HOST}:{port}",
    )


class Identities:
    """The file that the server reads at its start and at each SIGHUP."""

    def __init__(self, path: Path, first: StoreAccount) -> None:
        self._path = path
        self._added: list[StoreAccount] = []
        self._buckets = {first.name: [first.s3_bucket_name]}

    def add(self, account: StoreAccount) -> None:
        """Adds another account."""
        self._added.append(account)

    def allow(self, account: StoreAccount) -> None:
        """Gives the account access to one more bucket of its own."""
        buckets = self._buckets.setdefault(account.name, [])
        if account.s3_bucket_name not in buckets:
            buckets.append(account.s3_bucket_name)

    def write(self, first: StoreAccount) -> None:
        """Replaces the first account; the added ones stay."""
        new = self._path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_text(json.dumps({"identities": list(self._entries(first))}))
        new.replace(self._path)

    def _entries(self, first: StoreAccount) -> Iterator[dict[str, object]]:
        for account in (first, *self._added):
            yield {
                "name": account.name,
                "credentials": [{"accessKey": account.access_key_id, "secretKey": account.secret_access_key}],
                "actions": [f"{action}:{bucket}" for bucket in self._buckets[account.name] for action in _ACTIONS],
            }

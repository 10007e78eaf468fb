"""The commands rebuild a lost ledger: every row is compared with the lost ledger, and every file is read."""

import asyncio
import json
import sqlite3
from collections.abc import Mapping
from contextlib import ExitStack, closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from testkit.faults.faults import Fault
from tests.files import digests_of
from tests.service.conftest import Accounts, Proxied, serving
from tests.service.owners import overwrite
from tests.service.services import manage, manage_json
from tests.service.sizes import MANY_PARTS, ONE_PART, content
from tests.serving import Running
from tests.unit.ledger.aliases import sqlite_alias
from tests.unit.ledger.commands import sqlite_url

# What the objects do not record.
LOST = {
    "part_size", "ack", "who", "idempotency_key", "owner", "lease_until", "request_id", "attempts", "error_code",
    "begun_until",
}  # fmt: skip
TIMES = {"created_at", "stored_at"}
WITHIN = timedelta(seconds=30)  # S3's times are whole seconds, and of the beginning of the upload
Rows = dict[tuple[str, ...], dict[str, Any]]


def rows_of(path: Path) -> Rows:
    """Every file and replica, without the numbers of the rows."""
    rows: Rows = {}
    with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        for file in connection.execute("SELECT * FROM file_file"):
            rows[(file["id"],)] = dict(file)
        for replica in connection.execute("SELECT * FROM file_replica"):
            rows[replica["file_id"], replica["account"]] = {**dict(replica), "id": None}
    return rows


def assert_restored(found: Rows, expected: Rows) -> None:
    assert found.keys() == expected.keys()
    for identity, row in expected.items():
        restored = found[identity]
        same = row.keys() - LOST - TIMES - {"metadata", "content_headers", "wanted", "due_at"}
        assert {name: restored[name] for name in same} == {name: row[name] for name in same}
        for name in ("metadata", "content_headers", "wanted"):
            assert json.loads(restored.get(name) or "{}") == json.loads(row.get(name) or "{}")
        for name in TIMES:
            assert (restored[name] is None) == (row[name] is None), (name, row)
            if row[name] is not None:
                assert abs(datetime.fromisoformat(restored[name]) - datetime.fromisoformat(row[name])) < WITHIN


async def rebuilt(path: Path, accounts: Accounts, *options: str) -> tuple[int, dict[str, Any]]:
    return await manage_json(sqlite_url(path), accounts.values(), "ledger", "rebuild", *options)


async def upload(service: Running, part: str) -> dict[str, bytes]:
    """Files by every way; returns their bodies by key."""
    bodies = {}
    async with service.client() as client:
        for name, size in ((f"ü 空 + %41 {part}.txt", ONE_PART), (f"large {part}", MANY_PARTS), (f"none {part}", 0)):
            form = await client.post(
                "/upload", data={"filename": name}, files={"file": ("x", content(size), "text/x-form; charset=utf-8")}
            )
            assert form.status_code == 201, form.text
            bodies[form.json()["key"]] = content(size)

            async def body(size: int = size) -> Any:
                yield content(size)

            key = f"raw/ñ/{name}"
            headers = {
                "x-amz-meta-colour": "blue",
                "content-type": "image/x-raw",
                "content-language": "de, en",
                "content-disposition": 'inline; filename="a.raw"',
                "cache-control": "no-store",
            }
            raw = await client.put(f"/files/{quote(key)}", content=body(), headers=headers)  # chunked: of unknown size
            assert raw.status_code == 201, raw.text
            bodies[key] = content(size)
        subset = await client.put(f"/files/subset-{part}", content=b"s", headers={"upload-accounts": "A,B"})
        assert subset.status_code == 201, subset.text
        bodies[f"subset-{part}"] = b"s"
    return bodies


async def assert_readable(service: Running, bodies: Mapping[str, bytes]) -> None:
    async with service.client() as client:
        for key, body in bodies.items():
            answer = await client.get(f"/files/{quote(key)}")
            assert (answer.status_code, answer.content) == (200, body), key
            listed = await client.get("/files", params={"prefix": key, "limit": "1"})
            assert listed.json()["files"][0]["sha256"] == digests_of(body).sha256.hex()


@pytest.mark.timeout(300)
async def test_files_are_what_they_were_when_the_ledger_was_lost(
    accounts: Accounts, proxied: Proxied, sqlite_database: str, tmp_path: Path
) -> None:
    old, copy, new = (tmp_path / name for name in ("database.sqlite3", "copy.sqlite3", "new.sqlite3"))
    proxy = proxied("C")
    async with serving(accounts["A"], accounts["B"], proxy.account, database=sqlite_database) as service:
        bodies = await upload(service, "early")
        saved = await manage(sqlite_url(old), accounts.values(), "ledger", "backup", str(copy))
        assert saved.returncode == 0, saved.stderr
        bodies |= await upload(service, "late")
        proxy.add(Fault.refuses("InternalError", operation="put", times=None))
        async with service.client() as client:
            for key in ("pending", "pending too"):
                any_ = await client.put(f"/files/{key}", content=b"p", headers={"upload-ack": "any"})
                assert any_.status_code == 202, any_.text
                bodies[key] = b"p"
    expected = rows_of(old)
    assert len(expected) == 2 * 7 * (1 + 3) - 2 + 2 * (1 + 3)
    overwrite(accounts["B"], b"x", "a stranger's")
    for file in old.parent.glob(f"{old.name}*"):
        file.unlink()

    code, told = await rebuilt(old, accounts, "--dry-run")
    assert (code, told["restored"], old.exists()) == (1, {"stored": 0, "partial": 0}, False)
    [installation] = told["other_installations"]  # an operator knows that it was this ledger's
    code, told = await rebuilt(old, accounts, "--dry-run", "--adopt", installation)
    assert (code, told["restored"], old.exists()) == (0, {"stored": 14, "partial": 2}, False)
    code, told = await rebuilt(new, accounts, "--adopt", installation)
    assert (code, told["problems"], told["restored"]) == (0, {"count": 0, "first": []}, {"stored": 14, "partial": 2})
    assert told["strangers"] == {"count": 1, "first": [{"account": "B", "object_key": "a stranger's"}]}
    assert {name: each["missing"] for name, each in told["accounts"].items()} == {"A": 0, "B": 0, "C": 2}
    assert told["hashed"] == 2 + 2  # of many parts, without a digest from the client
    assert_restored(rows_of(new), expected)
    restored = rows_of(new)
    code, told = await rebuilt(new, accounts)
    assert (code, told["known"], told["restored"]) == (0, 16, {"stored": 0, "partial": 0})
    assert rows_of(new) == restored

    code, told = await rebuilt(copy, accounts)
    assert (code, told["known"], told["restored"]) == (0, 7, {"stored": 7, "partial": 2})
    assert_restored(rows_of(copy), expected)
    with ExitStack() as opened:
        alias = await asyncio.to_thread(opened.enter_context, sqlite_alias(new))
        async with serving(*accounts.values(), database=alias) as service:
            await assert_readable(service, bodies)
        await asyncio.to_thread(opened.close)  # Django's connections do not work in event loops

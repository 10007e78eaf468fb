"""An owner reads everything that the service sends to the account, and does not find the name of another account."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from file.audit.findings import RebuildFindings
from file.audit.rebuild import Rebuild
from file.ledger.keyed import account_hashes
from file.logic.values import FILE_ACCOUNT_HASHES
from testkit.account import StoreAccount
from testkit.faults.faults import Fault
from tests.buckets import registry_of
from tests.service.conftest import Accounts, Proxied, serving
from tests.service.owners import asking, delete, metadata_of
from tests.service.receipts import receipt_when, statuses
from tests.service.sizes import MANY_PARTS, ONE_PART, content
from tests.service.test_older_ledger import new_ledger, ownership_of
from tests.service.verifying import opened
from tests.unit.ledger.commands import run_manage, sqlite_url
from tests.unit.ledger.looking import files_in

NAMES = {"A": "clinic_north", "B": "clinic_south", "C": "archive_ltd"}
QUICK: dict[str, Any] = {"lease_seconds": 1.0, "grace_seconds": 0.2}


def shown_to(account: StoreAccount) -> str:
    """Everything that the account's owner can see of the objects, in small letters."""
    client, bucket = asking(account), account.s3_bucket_name
    objects = client.list_objects_v2(Bucket=bucket)["Contents"]
    heads = [client.head_object(Bucket=bucket, Key=each["Key"]) for each in objects]
    tags = [client.get_object_tagging(Bucket=bucket, Key=each["Key"])["TagSet"] for each in objects]
    return json.dumps([objects, heads, tags], default=str).lower()


async def test_no_account_gets_the_name_of_another_one_when_files_come(accounts: Accounts, proxied: Proxied) -> None:
    proxies = {name: proxied(name) for name in NAMES}
    named = [replace(proxy.account, name=NAMES[name]) for name, proxy in proxies.items()]
    proxies["B"].add(Fault.refuses("InternalError", operation="put", key="late", times=4))
    async with serving(*named, **QUICK) as service, service.client() as client:
        for key, size in (("one", ONE_PART), ("large", MANY_PARTS)):
            assert (await client.put(f"/files/{key}", content=content(size))).status_code == 201
        form = await client.post("/upload", files={"file": ("form.txt", content(ONE_PART))})
        assert form.status_code == 201
        late = await client.put("/files/late", content=content(ONE_PART), headers={"upload-ack": "any"})
        assert late.status_code in (201, 202)
        await receipt_when(client, late.json()["id"], lambda receipt: set(statuses(receipt).values()) == {"stored"})
        assert (await client.get("/files/one")).status_code == 200
        assert (await client.delete("/files/large")).status_code == 200
    for account, proxy in zip(accounts.values(), proxies.values(), strict=True):
        sent = " ".join(f"{seen.target} {seen.headers}" for seen in proxy.requests).lower()
        for name in NAMES.values():
            assert name not in shown_to(account)
            assert name not in sent
    entries = [metadata_of(accounts["A"], key)[FILE_ACCOUNT_HASHES].split(",") for key in ("one", "late")]
    assert [len(set(entry)) for entry in entries] == [3, 3]
    assert not set(entries[0]) & set(entries[1])  # nor does it show that two files went to the same accounts
    assert metadata_of(accounts["B"], "late")[FILE_ACCOUNT_HASHES] == ",".join(entries[1])  # as catch-up writes it


async def rebuilt(database: str, accounts: Sequence[StoreAccount], installation: str) -> RebuildFindings:
    async with opened(database, accounts) as (_, buckets):
        rebuild = Rebuild(database, registry_of(buckets), hashes=account_hashes(), adopted=[installation])
        return await rebuild.run()


async def test_an_account_that_lost_its_objects_gets_them_when_the_ledger_was_rebuilt(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    among = [replace(account, name=NAMES[name]) for name, account in accounts.items()]
    async with serving(*among, database=sqlite_database) as service, service.client() as client:
        for key, only in (("all", "clinic_north,clinic_south,archive_ltd"), ("two", "clinic_north,clinic_south")):
            put = await client.put(f"/files/{key}", content=content(ONE_PART), headers={"upload-accounts": only})
            assert put.status_code == 201
            delete(accounts["B"], key)
    lost = (await ownership_of(sqlite_database)).own
    async with new_ledger(tmp_path / "new.sqlite3") as new:
        findings = await rebuilt(new, among, lost)
        assert (findings.partial, findings.is_whole, findings.foreign) == (2, True, 0)
        missing = {name: each.missing for name, each in findings.accounts.items()}
        assert missing == {"clinic_north": 0, "clinic_south": 2, "archive_ltd": 0}
        files = await files_in(new)
        async with serving(*among, database=new, **QUICK) as service, service.client() as client:
            for file in files.values():
                await receipt_when(client, str(file.pk), lambda receipt: receipt["status"] == "stored")
    bodies = {name: {key for key, _ in account.contents().versions} for name, account in accounts.items()}
    assert bodies == {"A": {"all", "two"}, "B": {"all", "two"}, "C": {"all"}}


@pytest.mark.timeout(300)
async def test_the_command_restores_no_less_than_there_was_when_the_secret_key_is_another_one(
    accounts: Accounts, sqlite_database: str, tmp_path: Path
) -> None:
    a, b = accounts["A"], accounts["B"]
    async with serving(a, b, database=sqlite_database) as service, service.client() as client:
        for key in ("complete", "lacking"):
            assert (await client.put(f"/files/{key}", content=content(ONE_PART))).status_code == 201
    delete(b, "lacking")
    lost = (await ownership_of(sqlite_database)).own
    environment = {**a.environment(), **b.environment()}
    other = {"SECRET_KEY": "another-secret-key-which-is-long-enough-for-a-productive-service"}
    former = json.dumps(["not this one", settings.SECRET_KEY])

    async def rebuild(ledger: str, *options: str, **changes: str) -> tuple[int, str]:
        """Exit code and output."""
        command = ("ledger", "rebuild", "--adopt", lost, *options)
        url = sqlite_url(tmp_path / ledger)
        run = await asyncio.to_thread(run_manage, url, *command, **environment, **other, **changes)
        return run.returncode, run.stdout

    code, text = await rebuild("new.sqlite3")
    assert code == 1
    assert "Restored 1 files, 0 of them partial" in text
    assert "2 files name no account that is known here. If another SECRET_KEY wrote them" in text
    assert "Not restored: 1 files that name an account that is not known here, and lack a copy." in text
    code, text = await rebuild("without.sqlite3", "--without-unknown-accounts")
    assert code == 0
    assert "Restored 2 files, 0 of them partial" in text
    assert "Restored 1 files without an account" in text
    code, text = await rebuild("new.sqlite3", "--json", SECRET_KEY_FALLBACKS=former)
    report = json.loads(text)
    assert (code, report["restored"], report["accounts"]["B"]["missing"]) == (0, {"stored": 0, "partial": 1}, 1)
    assert report["unknown_accounts"] == {"not_restored": 0, "restored_without": 0, "none_known": 0}

"""The fuzzer finds objects that remained in the accounts, and those that disappeared."""

import asyncio

from fuzz import leftovers
from fuzz.leftovers import compare
from soak.examination import Asking
from soak.oracle import LEFT, LOST
from testkit.account import StoreAccount
from testkit.serviceprocess import TOKEN
from tests.buckets import s3_buckets
from tests.serving import running


async def test_each_finding_is_reported_when_an_object_remained_or_disappeared(
    accounts: dict[str, StoreAccount],
) -> None:
    chosen = {name: accounts[name] for name in ("A", "B")}
    async with s3_buckets(*chosen.values()) as buckets, running(buckets) as service, service.client() as client:
        for key in ("right", "gone", "erased"):
            assert (await client.put(f"/files/{key}", content=b"x")).status_code == 201
        only_a = await client.put("/files/only-a", content=b"x", headers={"upload-accounts": "A"})
        assert only_a.status_code == 201
        erased = (await client.delete("/files/erased")).json()["id"]

        def look(*acknowledged: str) -> leftovers.State:
            return compare(chosen, Asking(service.url, TOKEN), acknowledged, {erased})

        before = await asyncio.to_thread(look, erased)
        assert (before.findings, before.files, len(before.expected)) == ([], 3, 5)
        store, bucket = accounts["A"].boto3(), accounts["A"].s3_bucket_name
        store.delete_object(Bucket=bucket, Key="gone")
        store.put_object(Bucket=bucket, Key="stray", Body=b"x")
        store.create_multipart_upload(Bucket=bucket, Key="open")
        after = await asyncio.to_thread(look, erased, "an-id-that-nothing-knows")
    found = [(finding.kind, finding.account) for finding in after.findings]
    assert found == [(LEFT, "A"), (LOST, "A"), (LEFT, "A"), (LOST, None)]
    assert len(after.expected) == 4

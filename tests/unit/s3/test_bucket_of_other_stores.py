"""Other stores, as the service meets them: no versions, headers that they refuse, answers under other names."""

from collections.abc import Callable

import pytest

from file.logic.errors import PartRefusedError
from file.logic.values import FILE_ID
from file.s3.calls import Call
from testkit.account import StoreAccount
from testkit.faults.faultproxy import FaultProxy
from tests.buckets import NewBucket
from tests.files import bytes_of, described, part_of
from tests.unit.accounts.checkup import wellknownstores
from tests.unit.s3.carelessstore import CarelessStore
from tests.unit.s3.conftest import OpenBucket, head, refusal, upload

Accounts = dict[str, StoreAccount]
Proxied = Callable[[str], FaultProxy]
BODY = bytes_of(5_000)


async def test_no_version_is_named_when_the_account_has_none(
    proxied: Proxied, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    proxy = proxied("A")
    bucket = await open_bucket(proxy.account, versions=False)
    small, large = described("small"), described("large")
    stored = await bucket.put(small, part_of(BODY))
    await upload(bucket, large)
    read = bucket.read(stored, file_id=small.file_id, start=0, stop=len(BODY), size=len(BODY))
    async with read as pieces:
        assert b"".join([piece async for piece in pieces]) == BODY
    assert await bucket.remove("small", small.file_id, "an id of former times") == 0
    assert await bucket.remove("large", large.file_id) == 0
    assert not accounts["A"].contents()
    assert not any("version" in seen.target.lower() for seen in proxy.requests)


async def test_a_stranger_s_object_stays_when_the_account_has_no_versions(
    accounts: Accounts, open_bucket: OpenBucket
) -> None:
    account = accounts["A"]
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key="k", Body=BODY, Metadata={FILE_ID: "another"})
    bucket = await open_bucket(account, versions=False)
    await bucket.remove("k", described("k").file_id)
    assert head(account)["ContentLength"] == len(BODY)


async def test_an_id_that_is_no_version_is_forgotten_when_the_store_gives_one_with_a_put(
    accounts: Accounts, open_bucket: OpenBucket
) -> None:
    store = CarelessStore(refuses=wellknownstores.cloudflare_r2, headers=wellknownstores.ID_OF_A_PUT)
    async with store.running():
        description = described("k")
        with_versions = await open_bucket(accounts["A"].at(store.url))
        assert (await with_versions.put(description, part_of(BODY))).version_id == "7e6d8e5f0b"
        del store.objects["k"]
        without = await open_bucket(accounts["A"].at(store.url), versions=False)
        assert (await without.put(description, part_of(BODY))).version_id is None


async def test_it_is_not_called_removed_when_the_bucket_keeps_versions_after_all(
    new_bucket: NewBucket, open_bucket: OpenBucket
) -> None:
    account = new_bucket("A", "keeps-versions-against-the-json", versioned=True)
    description = described("k")
    bucket = await open_bucket(account, versions=False)
    await bucket.put(description, part_of(BODY))
    for _ in range(2):  # the second time, the marker lies there already
        error = await refusal(bucket, bucket.remove("k", description.file_id))
        assert type(error) is PartRefusedError
        assert 'keeps versions, although its "versions" is false' in str(error)
    right = await open_bucket(account)
    await right.remove("k", description.file_id)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("backblaze_b2", {}, 'set "checksums": false ('),
        ("backblaze_b2", {"checksums": False}, 'set "conditional_writes": false ('),
        ("google_cloud_storage", {}, 'set "checksums": false or set "conditional_writes": false; '),
        ("gateway_without_words", {"checksums": False}, 'set "conditional_writes": false ('),
    ],
)
async def test_the_cure_is_told_when_a_put_is_refused(
    name: str, options: dict[str, bool], words: str, accounts: Accounts, open_bucket: OpenBucket
) -> None:
    async with CarelessStore(refuses=getattr(wellknownstores, name)).running() as store:
        bucket = await open_bucket(accounts["A"].at(store.url), **options)
        error = await refusal(bucket, bucket.put(described("k"), part_of(BODY)))
    assert type(error) is PartRefusedError
    assert words in str(error)


async def test_the_cure_is_told_when_an_object_cannot_be_taken_back(
    accounts: Accounts, open_bucket: OpenBucket
) -> None:
    for refuses, words in (
        (wellknownstores.garage, 'does not list versions: if its bucket keeps none, set "versions": false'),
        (wellknownstores.moto, 'does not answer a question for a version: if its bucket keeps none, set "versions"'),
    ):
        renames = {"</Key></Version>": "</Key><VersionId>null</VersionId></Version>"}
        async with CarelessStore(refuses=refuses, renames=renames).running() as store:
            bucket = await open_bucket(accounts["A"].at(store.url))
            await bucket.put(described("k"), part_of(BODY))
            error = await refusal(bucket, bucket.remove("k", described("k").file_id))
            assert words in str(error)
            assert store.objects


@pytest.mark.parametrize(
    "renames",
    [
        {"InitiateMultipartUploadResult": "CreateMultipartUploadResponse"},  # moto 5.2.0
        {"InitiateMultipartUploadResult": "CreateMultipartUploadOutput", "Result>": "Output>"},  # LocalStack 2.0
    ],
)
async def test_a_large_file_is_stored_when_the_store_names_its_answers_otherwise(
    renames: dict[str, str], accounts: Accounts, open_bucket: OpenBucket
) -> None:
    async with CarelessStore(renames=renames).running() as store:
        bucket = await open_bucket(accounts["A"].at(store.url), conditional_writes=False)
        description = described("k")
        await upload(bucket, description)
        assert set(store.objects) == {"k"}
        begun = await bucket.begin(described("another"))
        await bucket.client.brief(Call("abort", "DELETE", "another", query=[("uploadId", begun.id)]))
    assert not store.uploads

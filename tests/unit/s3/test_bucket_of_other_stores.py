"""Stores other than AWS: no versions, headers that they refuse, answers under other names."""

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
from tests.unit.s3.conftest import OpenBucket, head, read_whole, refusal, upload

BODY = bytes_of(5_000)


async def test_no_version_is_named_when_the_account_has_none(
    proxy: FaultProxy, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(proxy.account, versions=False)
    small, large = described("small"), described("large")
    stored = await bucket.put(small, part_of(BODY))
    await upload(bucket, large)
    assert await read_whole(bucket, stored, small.file_id, len(BODY)) == BODY
    assert await bucket.remove("small", small.file_id, "a version that the ledger recorded earlier") == 0
    assert await bucket.remove("large", large.file_id) == 0
    assert not account.contents()
    assert not any("version" in seen.target.lower() for seen in proxy.requests)


async def test_the_object_of_another_stays_when_the_account_has_no_versions(
    account: StoreAccount, open_bucket: OpenBucket
) -> None:
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key="k", Body=BODY, Metadata={FILE_ID: "another"})
    bucket = await open_bucket(account, versions=False)
    await bucket.remove("k", described("k").file_id)
    assert head(account)["ContentLength"] == len(BODY)


@pytest.mark.parametrize(("options", "version_id"), [({}, "7e6d8e5f0b"), ({"versions": False}, None)])
async def test_the_version_id_in_the_answer_to_a_put_is_kept_when_the_account_has_versions(
    options: dict[str, bool], version_id: str | None, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    store = CarelessStore(refuses=wellknownstores.cloudflare_r2, headers=wellknownstores.ID_OF_A_PUT)
    async with store.running():
        bucket = await open_bucket(account.at(store.url), **options)
        assert (await bucket.put(described("k"), part_of(BODY))).version_id == version_id


async def test_the_file_is_not_called_removed_when_the_bucket_keeps_versions_against_its_option(
    new_bucket: NewBucket, open_bucket: OpenBucket
) -> None:
    account = new_bucket("A", "keeps-versions-against-the-json", versioned=True)
    description = described("k")
    bucket = await open_bucket(account, versions=False)
    await bucket.put(description, part_of(BODY))
    for _ in range(2):  # the second time, there is a delete marker already
        error = await refusal(bucket, bucket.remove("k", description.file_id))
        assert type(error) is PartRefusedError
        assert 'keeps versions, although its "versions" is false' in str(error)
    await (await open_bucket(account)).remove("k", description.file_id)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("backblaze_b2", {}, 'set "checksums": false ('),
        ("backblaze_b2", {"checksums": False}, 'set "conditional_writes": false ('),
        ("google_cloud_storage", {}, 'set "checksums": false or set "conditional_writes": false; '),
        ("gateway_without_words", {"checksums": False}, 'set "conditional_writes": false ('),
    ],
)
async def test_the_error_names_the_option_to_change_when_a_put_is_refused(
    name: str, options: dict[str, bool], words: str, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    async with CarelessStore(refuses=getattr(wellknownstores, name)).running() as store:
        bucket = await open_bucket(account.at(store.url), **options)
        error = await refusal(bucket, bucket.put(described("k"), part_of(BODY)))
    assert type(error) is PartRefusedError
    assert words in str(error)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("garage", 'does not list versions: if its bucket keeps none, set "versions": false'),
        ("moto", 'does not answer a question for a version: if its bucket keeps none, set "versions"'),
    ],
)
async def test_the_error_names_the_option_to_change_when_an_object_cannot_be_removed(
    name: str, words: str, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    renames = {"</Key></Version>": "</Key><VersionId>null</VersionId></Version>"}
    async with CarelessStore(refuses=getattr(wellknownstores, name), renames=renames).running() as store:
        bucket = await open_bucket(account.at(store.url))
        await bucket.put(described("k"), part_of(BODY))
        assert words in str(await refusal(bucket, bucket.remove("k", described("k").file_id)))
        assert store.objects


@pytest.mark.parametrize(
    "renames",
    [
        {"InitiateMultipartUploadResult": "CreateMultipartUploadResponse"},  # moto 5.2.0
        {"InitiateMultipartUploadResult": "CreateMultipartUploadOutput", "Result>": "Output>"},  # LocalStack 2.0
    ],
)
async def test_a_large_file_is_stored_when_the_store_gives_its_answers_other_names(
    renames: dict[str, str], account: StoreAccount, open_bucket: OpenBucket
) -> None:
    async with CarelessStore(renames=renames).running() as store:
        bucket = await open_bucket(account.at(store.url), conditional_writes=False)
        await upload(bucket, described("k"))
        assert set(store.objects) == {"k"}
        begun = await bucket.begin(described("another"))
        await bucket.client.brief(Call("abort", "DELETE", "another", query=[("uploadId", begun.id)]))
    assert not store.uploads

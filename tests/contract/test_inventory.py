"""What `StorageAccount` (file/logic/ports.py) promises about the objects in an account: the memory bucket and real S3.

Removing objects, and aborting lost uploads: see `test_bucket.py`.
"""

import dataclasses

import pytest

from file.logic.naming import new_file_id
from tests.contract.conftest import KEYS, LARGE, PREFIX, Inside, begun, put
from tests.files import described, digests_of, part_of


@pytest.mark.parametrize("key", KEYS)
async def test_our_object_is_found_when_it_is_there(inside: Inside, key: str) -> None:
    stored, description = await put(inside, key=key)
    found = await inside.bucket.find(PREFIX + key, description.file_id)
    assert found is not None
    assert found.request_id
    assert dataclasses.replace(found, request_id=stored.request_id) == stored


async def test_our_object_is_found_when_it_was_sent_in_parts(inside: Inside) -> None:
    description = described()
    upload = await begun(inside.bucket, description)
    assert await inside.bucket.find(f"{PREFIX}k", description.file_id) is None
    stored = await upload.complete(digests_of(LARGE))
    found = await inside.bucket.find(f"{PREFIX}k", description.file_id)
    assert found is not None
    assert (found.etag, found.version_id) == (stored.etag, stored.version_id)


async def test_nothing_is_found_when_the_key_has_no_object_or_that_of_another_owner(inside: Inside) -> None:
    assert await inside.bucket.find(f"{PREFIX}k", new_file_id()) is None
    inside.put(f"{PREFIX}k", b"content")
    assert await inside.bucket.find(f"{PREFIX}k", new_file_id()) is None
    await put(inside, key="ours")
    assert await inside.bucket.find(f"{PREFIX}ours", new_file_id()) is None


async def test_nothing_is_found_when_the_owner_deleted_it(inside: Inside) -> None:
    _, description = await put(inside)
    inside.delete(f"{PREFIX}k")
    assert await inside.bucket.find(f"{PREFIX}k", description.file_id) is None


async def test_upload_is_gone_when_it_is_aborted_by_its_id_once_or_twice(inside: Inside) -> None:
    inside.begin(f"{PREFIX}k")
    upload = await inside.bucket.begin(described())
    await upload.send(part_of(b"x"))
    await inside.bucket.abort(f"{PREFIX}k", upload.id)
    await inside.bucket.abort(f"{PREFIX}k", upload.id)
    assert inside.open_uploads() == [f"{PREFIX}k"]  # that of another owner


async def test_object_stays_when_its_completed_upload_is_aborted_by_its_id(inside: Inside) -> None:
    description = described()
    upload = await begun(inside.bucket, description)
    await upload.complete(digests_of(LARGE))
    await inside.bucket.abort(f"{PREFIX}k", upload.id)
    assert await inside.bucket.find(f"{PREFIX}k", description.file_id) is not None


async def test_all_objects_under_the_prefix_are_listed_also_those_of_another_owner(inside: Inside) -> None:
    for key in ("b-1", "b-2", "first"):
        await put(inside, key=key)
    inside.put(f"{PREFIX}strange", b"content")
    inside.put("elsewhere", b"content")

    async def listed(under: str) -> list[str]:
        return sorted([key async for page in inside.bucket.pages(under) for key in page])

    assert await listed("") == [PREFIX + key for key in ("b-1", "b-2", "first", "strange")]
    assert await listed("b-") == [PREFIX + key for key in ("b-1", "b-2")]
    assert list(await inside.bucket.keys_behind(f"{PREFIX}b-1"))[:2] == [PREFIX + key for key in ("b-2", "first")]


async def test_all_open_uploads_are_listed_also_those_of_another_owner(inside: Inside) -> None:
    upload = await inside.bucket.begin(described("ours"))
    inside.begin(f"{PREFIX}theirs")
    listed = [found async for page in inside.bucket.open_uploads() for found in page]
    assert sorted(found.object_key for found in listed) == [f"{PREFIX}ours", f"{PREFIX}theirs"]
    assert [found.upload_id for found in listed if found.object_key == f"{PREFIX}ours"] == [upload.id]
    assert [page async for page in inside.bucket.open_uploads("o") if len(page) != 1] == []

"""What `StorageAccount` promises of what lies in an account (file/logic/ports.py): of the memory bucket and of real S3.

Removing, and aborting what got lost: see `test_bucket.py`.
"""

import pytest

from file.logic.naming import new_file_id
from tests.contract.conftest import PREFIX, Inside
from tests.files import PART_BYTES, bytes_of, described, digests_of, part_of, parts_of

KEYS = ["k", "ü/ñ 空 +&?=%41#x", "a//b"]
LARGE = bytes_of(PART_BYTES + 1)


@pytest.mark.parametrize("key", KEYS)
async def test_our_object_is_found_when_it_is_there(inside: Inside, key: str) -> None:
    description = described(key)
    stored = await inside.bucket.put(description, part_of(b"content"))
    found = await inside.bucket.find(PREFIX + key, description.file_id)
    assert found is not None
    assert found.request_id
    told = (found.account, found.bucket, found.object_key, found.etag, found.version_id, found.checked_by)
    assert told == (stored.account, stored.bucket, stored.object_key, stored.etag, stored.version_id, stored.checked_by)


async def test_our_object_is_found_when_it_was_sent_in_parts(inside: Inside) -> None:
    description = described()
    upload = await inside.bucket.begin(description)
    for part in parts_of(LARGE):
        await upload.send(part)
    assert await inside.bucket.find(f"{PREFIX}k", description.file_id) is None
    stored = await upload.complete(digests_of(LARGE))
    found = await inside.bucket.find(f"{PREFIX}k", description.file_id)
    assert found is not None
    assert (found.etag, found.version_id) == (stored.etag, stored.version_id)


async def test_nothing_is_found_when_the_key_has_nothing_or_anothers(inside: Inside) -> None:
    assert await inside.bucket.find(f"{PREFIX}k", new_file_id()) is None
    inside.put(f"{PREFIX}k", b"content")
    assert await inside.bucket.find(f"{PREFIX}k", new_file_id()) is None
    await inside.bucket.put(described("ours"), part_of(b"content"))
    assert await inside.bucket.find(f"{PREFIX}ours", new_file_id()) is None


async def test_nothing_is_found_when_the_owner_deleted_it(inside: Inside) -> None:
    description = described()
    await inside.bucket.put(description, part_of(b"content"))
    inside.delete(f"{PREFIX}k")
    assert await inside.bucket.find(f"{PREFIX}k", description.file_id) is None


async def test_upload_is_gone_when_it_is_aborted_by_its_id_once_or_twice(inside: Inside) -> None:
    inside.begin(f"{PREFIX}k")
    upload = await inside.bucket.begin(described())
    await upload.send(part_of(b"x"))
    await inside.bucket.abort(f"{PREFIX}k", upload.id)
    await inside.bucket.abort(f"{PREFIX}k", upload.id)
    assert inside.open_uploads() == [f"{PREFIX}k"]  # the stranger's


async def test_object_stays_when_its_upload_is_aborted_by_its_id_after_all(inside: Inside) -> None:
    description = described()
    upload = await inside.bucket.begin(description)
    for part in parts_of(LARGE):
        await upload.send(part)
    await upload.complete(digests_of(LARGE))
    await inside.bucket.abort(f"{PREFIX}k", upload.id)
    assert await inside.bucket.find(f"{PREFIX}k", description.file_id) is not None


async def test_what_lies_under_the_prefix_is_listed_whoever_put_it_there(inside: Inside) -> None:
    for key in ("b-1", "b-2", "first"):
        await inside.bucket.put(described(key), part_of(b"content"))
    inside.put(f"{PREFIX}strange", b"content")
    inside.put("elsewhere", b"content")

    async def listed(under: str) -> list[str]:
        return sorted([key async for page in inside.bucket.pages(under) for key in page])

    assert await listed("") == [PREFIX + key for key in ("b-1", "b-2", "first", "strange")]
    assert await listed("b-") == [PREFIX + key for key in ("b-1", "b-2")]
    assert list(await inside.bucket.keys_behind(f"{PREFIX}b-1"))[:2] == [PREFIX + key for key in ("b-2", "first")]


async def test_uploads_that_are_open_are_listed_whoever_began_them(inside: Inside) -> None:
    upload = await inside.bucket.begin(described("ours"))
    inside.begin(f"{PREFIX}theirs")
    listed = [found async for page in inside.bucket.open_uploads() for found in page]
    assert sorted(found.object_key for found in listed) == [f"{PREFIX}ours", f"{PREFIX}theirs"]
    assert [found.upload_id for found in listed if found.object_key == f"{PREFIX}ours"] == [upload.id]
    assert [page async for page in inside.bucket.open_uploads("o") if len(page) != 1] == []

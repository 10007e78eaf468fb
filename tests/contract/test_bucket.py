"""What `StorageAccount` and `Upload` (file/logic/ports.py) promise about writing: the memory bucket and real S3."""

import asyncio
import gzip
from datetime import UTC, datetime, timedelta

import pytest

from file.logic.errors import KeyOccupiedError, PartRefusedError
from file.logic.naming import new_file_id
from file.logic.ports import StorageAccount
from file.logic.values import ObjectDescription, Stored
from tests.contract.conftest import KEYS, LARGE, PREFIX, Found, Inside, begun, put
from tests.files import PART_BYTES, bytes_of, described, digests_of, part_of, parts_of


def found(description: ObjectDescription, body: bytes, key: str | None = None) -> dict[str, Found]:
    described = (description.content_type, dict(description.metadata), dict(description.content_headers))
    return {key or PREFIX + description.key: Found(body, *described)}


def assert_describes(stored: Stored, bucket: StorageAccount, description: ObjectDescription) -> None:
    account = bucket.account
    assert (stored.account, stored.bucket) == (account.name, account.s3_bucket_name)
    assert stored.object_key == PREFIX + description.key
    assert stored.etag
    assert stored.request_id


@pytest.mark.parametrize("key", KEYS)
async def test_object_has_bytes_type_and_metadata_when_it_is_put(inside: Inside, key: str) -> None:
    stored, description = await put(inside, key=key)
    assert_describes(stored, inside.bucket, description)
    assert inside.objects() == found(description, b"content", inside.listed(PREFIX + key))


CONTENT_HEADERS = {
    "content-encoding": "gzip",
    "content-language": "de, en-GB",
    "content-disposition": "inline; filename=\"a  b'.txt\"; filename*=UTF-8''%C3%BC.txt",
    "cache-control": 'private="x, y", max-age=60',
    "expires": "Fri, 02 Jan 2026 03:04:05 GMT",
}


async def test_object_has_its_content_headers_when_it_is_put(inside: Inside) -> None:
    body = gzip.compress(b"content" * 1000)
    stored, description = await put(inside, body, content_headers=CONTENT_HEADERS)
    assert inside.objects() == found(description, body)
    looked = await inside.bucket.look(PREFIX + description.key)
    assert looked is not None
    assert looked.content_headers == CONTENT_HEADERS
    size, file_id = len(body), description.file_id
    async with inside.bucket.read(stored, file_id=file_id, start=0, stop=size, size=size) as pieces:
        assert b"".join([piece async for piece in pieces]) == body  # as it was stored, not decoded


async def test_object_has_its_content_headers_when_it_comes_in_parts(inside: Inside) -> None:
    description = described(content_headers=CONTENT_HEADERS)
    await (await begun(inside.bucket, description)).complete(digests_of(LARGE))
    assert inside.objects() == found(description, LARGE)


@pytest.mark.parametrize("body", [b"", b"content"])
async def test_object_has_no_content_headers_when_none_were_sent(inside: Inside, body: bytes) -> None:
    _, description = await put(inside, body)
    assert inside.objects() == found(description, body)
    looked = await inside.bucket.look(PREFIX + description.key)
    assert looked is not None
    assert looked.content_headers == {}


async def test_our_own_object_is_found_when_a_put_is_repeated(inside: Inside) -> None:
    first, description = await put(inside)
    again = await inside.bucket.put(description, part_of(b"content"))
    assert (again.etag, again.version_id) == (first.etag, first.version_id)
    assert inside.objects() == found(description, b"content")


async def test_put_is_refused_when_the_key_has_another_file_of_ours(inside: Inside) -> None:
    _, description = await put(inside)
    with pytest.raises(KeyOccupiedError):
        await put(inside)
    assert inside.objects() == found(description, b"content")


@pytest.mark.parametrize("body", [b"equal", b"different"])
async def test_put_and_begin_are_refused_when_the_key_has_an_object_of_another_owner(
    inside: Inside, body: bytes
) -> None:
    inside.put(f"{PREFIX}k", body)
    before = inside.objects()
    with pytest.raises(KeyOccupiedError):
        await put(inside, b"equal")
    with pytest.raises(KeyOccupiedError):
        await inside.bucket.begin(described())
    assert inside.objects() == before
    assert inside.open_uploads() == []


@pytest.mark.parametrize("key", KEYS)
async def test_nothing_is_visible_when_an_upload_is_not_completed(inside: Inside, key: str) -> None:
    description = described(key)
    upload = await begun(inside.bucket, description)
    assert inside.objects() == {}
    assert inside.open_uploads() == [inside.listed(PREFIX + key)]
    assert_describes(await upload.complete(digests_of(LARGE)), inside.bucket, description)
    assert inside.objects() == found(description, LARGE, inside.listed(PREFIX + key))
    assert inside.open_uploads() == []


async def test_parts_are_joined_in_order_when_they_come_at_once_out_of_order_and_twice(inside: Inside) -> None:
    body = bytes_of(2 * PART_BYTES + 7)
    first, second, third = parts_of(body)
    description = described()
    upload = await inside.bucket.begin(description)
    await upload.send(third)
    await asyncio.gather(upload.send(second), upload.send(first))
    await upload.send(third)
    await upload.complete(digests_of(body))
    assert inside.objects() == found(description, body)


async def test_our_own_object_is_found_when_a_complete_is_repeated(inside: Inside) -> None:
    description = described()
    upload = await begun(inside.bucket, description)
    first = await upload.complete(digests_of(LARGE))
    assert (await upload.complete(digests_of(LARGE))).etag == first.etag
    assert inside.objects() == found(description, LARGE)


async def test_complete_is_refused_when_another_owner_took_the_key_meanwhile(inside: Inside) -> None:
    upload = await begun(inside.bucket, described())
    inside.put(f"{PREFIX}k", LARGE)
    before = inside.objects()
    with pytest.raises(KeyOccupiedError):
        await upload.complete(digests_of(LARGE))
    await upload.abort()
    assert inside.objects() == before
    assert inside.open_uploads() == []


async def test_complete_is_refused_when_a_part_is_missing(inside: Inside) -> None:
    upload = await inside.bucket.begin(described())
    await upload.send(parts_of(LARGE)[0])
    with pytest.raises(PartRefusedError):
        await upload.complete(digests_of(LARGE))
    assert inside.objects() == {}


async def test_nothing_is_open_when_an_upload_is_aborted_once_or_twice(inside: Inside) -> None:
    upload = await begun(inside.bucket, described())
    await upload.abort()
    assert inside.open_uploads() == []
    await upload.abort()
    assert inside.objects() == {}


async def test_part_and_complete_are_refused_when_the_upload_was_aborted(inside: Inside) -> None:
    upload = await begun(inside.bucket, described())
    await upload.abort()
    with pytest.raises(PartRefusedError):
        await upload.send(part_of(b"x", 3))
    with pytest.raises(PartRefusedError):
        await upload.complete(digests_of(LARGE))
    assert inside.objects() == {}
    assert inside.open_uploads() == []


async def test_object_stays_when_its_upload_is_aborted_after_it_was_completed(inside: Inside) -> None:
    description = described()
    upload = await begun(inside.bucket, description)
    await upload.complete(digests_of(LARGE))
    await upload.abort()
    assert inside.objects() == found(description, LARGE)


@pytest.mark.parametrize("key", KEYS)
async def test_our_object_is_gone_when_it_is_removed(inside: Inside, key: str) -> None:
    inside.put(f"{PREFIX}{key}2", b"of another owner")
    _, description = await put(inside, key=key)
    await inside.bucket.remove(PREFIX + key, description.file_id)
    await inside.bucket.remove(PREFIX + key, description.file_id)
    assert list(inside.objects()) == [inside.listed(f"{PREFIX}{key}2")]


async def test_object_of_many_parts_is_gone_when_it_is_removed(inside: Inside) -> None:
    description = described()
    await (await begun(inside.bucket, description)).complete(digests_of(LARGE))
    await inside.bucket.remove(f"{PREFIX}k", description.file_id)
    assert inside.objects() == {}


async def test_objects_of_others_stay_when_ours_under_their_key_is_removed(inside: Inside) -> None:
    inside.put(f"{PREFIX}k", b"content")
    _, other = await put(inside, key="of another file of ours")
    before = inside.objects()
    await inside.bucket.remove(PREFIX + other.key, new_file_id())  # here the account shows the metadata of ours
    await inside.bucket.remove(f"{PREFIX}k", new_file_id())
    assert inside.objects() == before


# Not `a//b`: the test server lists it as `a/b`, which on AWS would be another's.
@pytest.mark.parametrize("key", KEYS[:2])
async def test_uploads_under_exactly_this_key_are_aborted_when_they_began_after_the_moment(
    inside: Inside, key: str
) -> None:
    description = described(key)
    since = datetime.now(UTC)
    others = sorted(PREFIX + other for other in (f"{key}2", f"{key}/x", "another"))
    for other in others:
        inside.begin(other)
    await inside.bucket.begin(description)
    await inside.bucket.begin(description)
    await inside.bucket.abort_lost(PREFIX + key, since=since, until=datetime.now(UTC))
    assert inside.open_uploads() == others


async def test_uploads_stay_open_when_they_began_before_or_after_the_moments(inside: Inside) -> None:
    await inside.bucket.begin(described())
    now, minute = datetime.now(UTC), timedelta(minutes=1)
    await inside.bucket.abort_lost(f"{PREFIX}k", since=now + minute, until=now + 2 * minute)
    await inside.bucket.abort_lost(f"{PREFIX}k", since=now - 2 * minute, until=now - minute)
    assert inside.open_uploads() == [f"{PREFIX}k"]
    await inside.bucket.abort_lost(f"{PREFIX}k", since=now - minute, until=now + minute)
    assert inside.open_uploads() == []

"""A malicious account: its endless listings end, its clock is not followed far, its answers are bounded.

The result of a call is always an outcome or an `AccountError`, and the next call works again.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count

import pytest

from file.logic.errors import AccessRefusedError, AccountError, AccountFailingError
from file.logic.values import KiB, MiB
from file.s3.bucket import S3Bucket
from file.s3.calls import Call
from file.s3.listing import listed
from file.s3.xml import UnreadableAnswerError, objects, versions
from tests.buckets import WAYS, s3_buckets
from tests.files import described, part_of
from tests.service.hostile.store import (
    TOKEN,
    Asked,
    HostileStore,
    Says,
    answer,
    begun,
    endless_versions,
    key_page,
    large,
    reflecting,
    refusal,
    upload,
    upload_page,
    version,
    version_page,
)

FILE = described("k")
BODY = part_of(b"content")
LIST = Call("list_objects", "GET", None, query=[("list-type", "2")])


@pytest.fixture(scope="module")
def running_store() -> Iterator[HostileStore]:
    with HostileStore().running() as running:
        yield running


@pytest.fixture
def store(running_store: HostileStore) -> HostileStore:
    running_store.is_honest_again()
    running_store.objects.clear()
    running_store.uploads.clear()
    return running_store


@pytest.fixture(params=WAYS)
async def bucket(store: HostileStore, request: pytest.FixtureRequest) -> AsyncIterator[S3Bucket]:
    network = WAYS[request.param]
    async with s3_buckets(store.account, network=network, session_token=TOKEN, pause_seconds=0.001) as [bucket]:
        yield bucket


# --- listings without an end


def leading_to(marker: Callable[[int], str], entries: str = "") -> Says:
    """Pages of versions of other keys; the marker of each is made of its number."""
    pages = count()
    return lambda asked: version_page(entries, "k", marker(next(pages)))


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (leading_to(lambda page: "same", version("a", "v")), "lists the same page again and again"),
        (leading_to(lambda page: f"{page % 7}", version("a", "v")), "lists the same page again and again"),
        (leading_to(lambda page: f"{page}"), "more than 100 pages with nothing on them"),
        (leading_to(lambda page: f"{page}", version("a", "v")), "more than 200 pages about one key"),
        (endless_versions(5000), "more than 25000 versions of one key"),
    ],
    ids=["the same marker", "a circle of markers", "empty pages", "pages", "versions"],
)
async def test_a_removal_ends_and_takes_our_version_when_the_listing_has_no_end(
    store: HostileStore, bucket: S3Bucket, says: Says, why: str
) -> None:
    stored = await bucket.put(FILE, BODY)
    store.says["list_versions"] = says
    with pytest.raises(AccountFailingError, match=why) as raised:
        await bucket.remove("k", FILE.file_id, stored.version_id, stored.etag)
    assert raised.value.retryable
    assert not store.objects
    store.is_honest_again()
    assert await bucket.remove("k", FILE.file_id, stored.version_id, stored.etag) == 0


async def test_looking_for_a_lost_upload_ends_when_the_list_has_no_end(store: HostileStore, bucket: S3Bucket) -> None:
    pages = count()

    def says(asked: Asked) -> bytes:
        page = next(pages)
        more = "<IsTruncated>true</IsTruncated><NextKeyMarker>k</NextKeyMarker>"
        return upload_page(f"{more}<NextUploadIdMarker>{page}</NextUploadIdMarker>{upload('a', str(page))}")

    store.says["list_uploads"] = says
    now = datetime.now(UTC)
    with pytest.raises(AccountFailingError, match="more than 200 pages about one key"):
        await bucket.abort_lost("k", since=now, until=now)


async def test_a_listing_of_everything_ends_when_it_goes_in_a_circle(store: HostileStore, bucket: S3Bucket) -> None:
    tokens = (f"<NextContinuationToken>{page % 5}</NextContinuationToken>" for page in count())
    store.says["list"] = lambda asked: key_page("a", more=f"<IsTruncated>true</IsTruncated>{next(tokens)}")
    with pytest.raises(AccountFailingError, match="again and again"):
        async for _ in bucket.pages():
            pass
    assert store.asked["list"] < 20


class ManyVersions:
    """Of one key, two per page. A marker of a deleted version is refused, as a store may do."""

    def __init__(self, store: HostileStore, *version_ids: str) -> None:
        self.left = list(version_ids)
        self.ours = {"v1", "v4", "v6"}
        store.says |= {"list_versions": self.listed, "head": self.shown, "delete": self.deleted}

    def listed(self, asked: Asked) -> bytes:
        marker = asked.query.get("version-id-marker")
        if marker is not None and marker not in self.left:
            return refusal("400 Bad Request", "InvalidArgument")
        start = 0 if marker is None else self.left.index(marker) + 1
        page = self.left[start : start + 2]
        listed = "".join(version("k", each) for each in page)
        return version_page(listed, "k", page[-1]) if start + 2 < len(self.left) else version_page(listed)

    def shown(self, asked: Asked) -> bytes:
        named = asked.query["versionId"]
        file_id = FILE.file_id if named in self.ours else "of-another"
        return answer("200 OK", 'ETag: "e"', f"x-amz-version-id: {named}", f"x-amz-meta-mentum-file-id: {file_id}")

    def deleted(self, asked: Asked) -> bytes:
        self.left.remove(asked.query["versionId"])
        return answer("204 No Content")


async def test_only_ours_goes_when_versions_fill_several_pages(store: HostileStore, bucket: S3Bucket) -> None:
    many = ManyVersions(store, *(f"v{number}" for number in range(9)))
    assert await bucket.remove("k", FILE.file_id) == 6
    assert many.left == ["v0", "v2", "v3", "v5", "v7", "v8"]


# --- clocks and ids


@pytest.mark.parametrize(
    "date",
    [
        *["Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2300", "Mon, 01 Jan 0001 00:00:00 +2300"],
        *["Mon, 01 Jan 99999 00:00:00 GMT", timedelta(days=8), timedelta(days=-8), "", "9" * 10_000],
    ],
    ids=lambda date: str(date)[:40],
)
async def test_a_clock_is_ignored_when_it_is_days_away(
    store: HostileStore, bucket: S3Bucket, date: str | timedelta
) -> None:
    if isinstance(date, timedelta):
        date = format_datetime(datetime.now(UTC) + date, usegmt=True)
    store.says["put"] = lambda asked: refusal("403 Forbidden", "RequestTimeTooSkewed", f"Date: {date}")
    store.says["head"] = lambda asked: answer("403 Forbidden", f"Date: {date}")
    with pytest.raises(AccessRefusedError, match=r"differ by .*RequestTimeTooSkewed"):
        await bucket.put(FILE, BODY)
    with pytest.raises(AccessRefusedError):
        await bucket.find("k", FILE.file_id)
    store.is_honest_again()
    await bucket.put(FILE, BODY)


async def test_a_clock_is_followed_when_it_is_hours_away(store: HostileStore, bucket: S3Bucket) -> None:
    away = datetime.now(UTC) + timedelta(hours=50)

    def says(asked: Asked) -> bytes | None:
        if asked.headers["x-amz-date"].startswith(f"{away:%Y%m%d}"):
            return None
        return refusal("403 Forbidden", "RequestTimeTooSkewed", f"Date: {format_datetime(away, usegmt=True)}")

    store.says["put"] = says
    await bucket.put(FILE, BODY)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-23:00", "2026-01-01", "9" * 5000])
@pytest.mark.parametrize("date", ["Mon, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2199 23:00:00 GMT", "never"])
async def test_only_an_account_error_comes_out_when_moments_lie_at_the_end_of_time(
    store: HostileStore, bucket: S3Bucket, moment: str, date: str
) -> None:
    listed = upload("k", "u", f"<Initiated>{moment}</Initiated>")
    store.says["list_uploads"] = lambda asked: upload_page(listed, f"Date: {date}")
    with suppress(AccountError):
        await bucket.abort_lost("k", since=datetime.now(UTC), until=datetime.now(UTC))
    assert [len(page) async for page in bucket.open_uploads()] == [1]
    store.says["head"] = lambda asked: answer("200 OK", 'ETag: "e"', f"Date: {date}", f"Last-Modified: {moment}")
    with suppress(AccountError):
        await bucket.remove("k", FILE.file_id)
    with pytest.raises(AccountFailingError):
        await bucket.look("k")


@pytest.mark.parametrize(
    "upload_id",
    ["u" * 100_000, "u" * 2049, "a b", "&#10;", "ü", TOKEN, f"x{TOKEN}", TOKEN[:100]],
    ids=["100,000", "2,049", "a space", "a line", "not ASCII", "the token", "a token in it", "a piece of the token"],
)
async def test_an_upload_fails_when_its_id_is_invalid(store: HostileStore, bucket: S3Bucket, upload_id: str) -> None:
    store.says["begin"] = lambda asked: begun(upload_id)
    with pytest.raises(AccountFailingError) as raised:
        await bucket.begin(FILE)
    assert raised.value.unanswered  # so that the upload is searched for
    assert upload_id not in str(raised.value)


async def test_an_upload_fails_when_its_id_is_our_signature(store: HostileStore, bucket: S3Bucket) -> None:
    store.says["begin"] = lambda asked: begun(asked.signature)
    with pytest.raises(AccountFailingError):
        await bucket.begin(FILE)


# --- headers


Value = Callable[[Asked], str]
REFLECTED: list[Value] = [
    lambda asked: asked.headers["x-amz-security-token"],
    lambda asked: asked.headers["x-amz-security-token"][:64],
    lambda asked: asked.headers["authorization"],
    lambda asked: asked.signature,
    lambda asked: f'"{asked.signature}"',
    lambda asked: "a" * 60_000,
    lambda asked: "a\tb",
    lambda asked: "\xff",
]


@pytest.mark.parametrize("value", REFLECTED)
@pytest.mark.parametrize("header", ["ETag", "x-amz-version-id"])
async def test_nothing_is_stored_when_etag_or_version_is_invalid(
    store: HostileStore, bucket: S3Bucket, header: str, value: Value
) -> None:
    store.says["put"] = reflecting(header, value)
    with pytest.raises(AccountFailingError) as raised:
        await bucket.put(FILE, BODY)
    assert raised.value.unanswered


@pytest.mark.parametrize("value", REFLECTED)
async def test_there_is_no_request_id_when_it_is_invalid(store: HostileStore, bucket: S3Bucket, value: Value) -> None:
    store.says["put"] = reflecting("x-amz-request-id", value)
    stored = await bucket.put(FILE, BODY)
    assert (stored.etag, stored.version_id, stored.request_id) == ('"e"', "v1", None)


@pytest.mark.parametrize("code", [TOKEN, TOKEN[:40], "A" * 65, "a b", "<b/>"])
async def test_the_status_counts_when_the_code_is_invalid(store: HostileStore, bucket: S3Bucket, code: str) -> None:
    store.says["put"] = lambda asked: refusal("500 Oops", code)
    with pytest.raises(AccountFailingError, match=r"\(status 500\)") as raised:
        await bucket.put(FILE, BODY)
    assert raised.value.s3_code is None


async def test_a_listing_is_read_when_a_key_has_the_id_of_the_access_key(store: HostileStore, bucket: S3Bucket) -> None:
    """The id is in every signed link, and some stores let it be any name: a client may use it as a name."""
    key = f"{bucket.account.access_key_id}_keys.csv"
    store.says["list"] = lambda asked: key_page(key)
    assert [page async for page in bucket.pages()] == [(key,)]


@pytest.mark.parametrize("metadata", ["x-amz-meta-author: J\xf6rg", f"x-amz-meta-note: {'n' * 3000}"])
async def test_an_equal_object_stays_when_it_has_metadata(store: HostileStore, bucket: S3Bucket, metadata: str) -> None:
    """An object with other metadata would have our file id if it were ours."""
    store.says |= {
        "head": lambda asked: answer("200 OK", 'ETag: "e"', metadata),
        "list_versions": lambda asked: version_page(version("k", "null")),
    }
    assert await bucket.remove("k", FILE.file_id, None, '"e"') == 1
    assert store.asked["delete"] == 0


async def test_metadata_and_headers_are_bounded_when_they_are_read_back(store: HostileStore, bucket: S3Bucket) -> None:
    headers = ['ETag: "e"', "Last-Modified: Mon, 23 Nov 2026 12:00:00 GMT", f"Content-Type: {'t' * 60_000}"]
    headers += ["x-amz-meta-file: f", f"x-amz-meta-token: {TOKEN}"]
    headers += [f"x-amz-meta-{number}: {'m' * 2000}" for number in range(20)]
    headers += [f"Cache-Control: x{TOKEN}", "X-Else: y"]
    store.says["head"] = lambda asked: answer("200 OK", *headers)
    found = await bucket.look("k")
    assert found is not None
    assert found.metadata["file"] == "f"
    assert sum(len(name) + len(value) for name, value in found.metadata.items()) <= 8 * KiB
    assert (found.content_type, found.content_headers) == ("", {})
    assert TOKEN not in repr(found)


@pytest.mark.parametrize("length", [b"\xff", b"9" * 4400, b"-1", b"1, 2"], ids=["no text", "4,400", "-1", "two"])
async def test_the_call_ends_when_a_length_is_no_number(store: HostileStore, bucket: S3Bucket, length: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nETag: e\r\nConnection: close\r\nContent-Length: " + length + b"\r\n\r\n"
    store.says["head"] = lambda asked: head
    with suppress(AccountError):
        await bucket.find("k", FILE.file_id)


# --- sizes


@pytest.mark.parametrize("operation", ["put", "begin"])
async def test_an_account_fails_when_an_answer_is_large(store: HostileStore, bucket: S3Bucket, operation: str) -> None:
    store.says[operation] = large(65 * KiB)
    with pytest.raises(AccountFailingError, match="more than 65536 bytes") as raised:
        await (bucket.put(FILE, BODY) if operation == "put" else bucket.begin(FILE))
    assert raised.value.unanswered


async def test_the_status_counts_when_a_refusal_is_large(store: HostileStore, bucket: S3Bucket) -> None:
    page = b"<Error><Code>AccessDenied</Code>" + b" " * 65 * KiB + b"</Error>"
    store.says["put"] = lambda asked: answer("503 Slow", body=page)
    with pytest.raises(AccountError, match=r"\(status 503\)"):
        await bucket.put(FILE, BODY)


async def test_xml_is_refused_before_it_is_read_when_it_has_too_many_tags_or_too_long_ones() -> None:
    many = b"<ListVersionsResult>" + b"<a>" * (2 * MiB) + b"</ListVersionsResult>"
    attributes = b"<ListVersionsResult " + b" ".join(b'a%d=""' % number for number in range(5000)) + b"/>"
    comment = b"<ListVersionsResult><!--" + b"x" * 7 * MiB + b"--></ListVersionsResult>"
    entries = b"<ListBucketResult>" + b"<Contents><Key>k</Key></Contents>" * 5001 + b"</ListBucketResult>"
    for body in (many, attributes + b" " * 64 * KiB, comment):
        with pytest.raises(UnreadableAnswerError, match="too l"):
            versions(body)
    with pytest.raises(UnreadableAnswerError, match="5000 entries"):
        objects(entries)


async def test_the_loop_goes_on_when_a_large_listing_is_parsed(store: HostileStore, bucket: S3Bucket) -> None:
    """The parsing does not end before the loop has turned: it waits for that."""
    page = key_page(*(f"{number:05}{'k&' * 250}" for number in range(1000)))
    store.says["list"] = lambda asked: page
    begun, turned = threading.Event(), threading.Event()

    def parse(body: bytes):  # type: ignore[no-untyped-def]
        begun.set()
        assert turned.wait(30)
        return objects(body)

    async def turn() -> None:
        while not begun.is_set():  # noqa: ASYNC110 - it is a thread's
            await asyncio.sleep(0.01)
        turned.set()

    (found, rest), _ = await asyncio.gather(listed(bucket.client, LIST, parse), turn())
    assert len(found.entries) == 1000
    assert rest.body == b""


async def test_one_large_listing_is_held_at_a_time_when_many_are_asked(store: HostileStore, bucket: S3Bucket) -> None:
    page = key_page(*(f"{number:05}{'k' * 200}" for number in range(1000)))
    store.says["list"] = lambda asked: page
    held = most = 0
    lock = threading.Lock()

    def parse(body: bytes):  # type: ignore[no-untyped-def]
        nonlocal held, most
        with lock:
            held += 1
            most = max(most, held)
        try:
            return objects(body)
        finally:
            with lock:
                held -= 1

    pages = await asyncio.gather(*(listed(bucket.client, LIST, parse) for _ in range(12)))
    assert [len(found.entries) for found, _ in pages] == [1000] * 12
    assert most == 1


async def test_a_listing_is_refused_when_it_has_our_session_token_in_it(store: HostileStore, bucket: S3Bucket) -> None:
    letters = "".join(f"&#{ord(letter)};" for letter in TOKEN)
    page = f"<ListBucketResult><Contents><Key>{letters}</Key></Contents></ListBucketResult>".encode()
    store.says["list"] = lambda asked: answer(body=page)
    with pytest.raises(AccountFailingError):
        await bucket.keys_behind("")

"""POST /upload: names, fields and their order, and forms that are no forms. Each refused one leaves nothing."""

import hashlib
from collections.abc import Callable
from urllib.parse import unquote

import pytest

from file.api.endpoints.form import MAX_FIELDS
from file.logic.values import FILE_NAME
from tests.unit.api.expectations import PART, Shared, assert_problem, memory_service
from tests.unit.api.rawhttp import BOUNDARY, FORM_END, exchange, form, form_head, form_part, head, in_chunks, post_form

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILE = form_part("file", b"content", filename="f.txt")
MANY_PARTS = b"x" * (3 * PART)
Named = Callable[[str], list[bytes]]


def field(value: str | bytes) -> bytes:
    return form_part("filename", value.encode() if isinstance(value, str) else value)


@pytest.mark.parametrize("content", [b"", b"x", b"x" * PART, MANY_PARTS, b"\r\n--" + BOUNDARY[:-1].encode() + b"\r\n"])
async def test_the_file_is_stored_when_it_comes_alone(shared: Shared, content: bytes) -> None:
    answer = await post_form(shared, form_part("file", content, filename="f.txt"))
    receipt = shared.assert_stored(answer, content)
    assert (receipt["name"], receipt["size"]) == ("f.txt", len(content))
    assert receipt["sha256"] == hashlib.sha256(content).hexdigest()
    assert {name: each["status"] for name, each in receipt["accounts"].items()} == dict.fromkeys("ABC", "stored")


async def test_the_file_is_stored_when_each_byte_of_the_form_is_a_chunk(shared: Shared) -> None:
    body = form(field("n.txt"), FILE)
    answer = await exchange(shared, form_head("transfer-encoding: chunked"), *in_chunks(body, 1))
    assert shared.assert_stored(answer, b"content")["name"] == "n.txt"


@pytest.mark.parametrize(
    "parts",
    [
        [field("n.txt"), FILE],
        [FILE, field("n.txt")],  # the file fits one part: its first byte has not left
        [field("n.txt"), form_part("file", b"content")],
        [form_part("file", b"content"), field("n.txt")],
        [field("n.txt"), field("n.txt"), FILE],
        [field("n.txt"), FILE, field("n.txt")],
        [field("n.txt"), form_part("file", MANY_PARTS, filename="f.txt")],
        [field("n.txt"), form_part("file", MANY_PARTS, filename="f.txt"), field("n.txt")],
        [form_part("file", MANY_PARTS, filename="n.txt"), field("n.txt")],
        [form_part("other", b"y" * 100_000), field("n.txt"), FILE, form_part("another", b"")],
    ],
)
async def test_the_field_names_the_file_when_it_is_sent(shared: Shared, parts: list[bytes]) -> None:
    answer = await post_form(shared, *parts)
    assert answer.status_code == 201, answer.body
    assert answer.json()["name"] == "n.txt"
    assert answer.json()["key"].endswith("-n.txt")


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([form_part("file", MANY_PARTS, filename="f.txt"), field("n.txt")], "filename_refused"),  # already on its way
        ([form_part("file", MANY_PARTS), field("n.txt")], "filename_missing"),
        ([field("a"), field("b"), FILE], "filename_refused"),
        ([field("a"), FILE, field("b")], "filename_refused"),
        ([form_part("file", b"content")], "filename_missing"),
        ([form_part("file", b"content", filename="")], "filename_missing"),
        ([field(""), FILE], "filename_refused"),
        ([FILE, field("")], "filename_refused"),
        ([field("n" * 10_000), FILE], "filename_refused"),
        ([FILE, field("n" * 10_000)], "filename_refused"),
        ([form_part("file", b"content", filename="n" * 5_000)], "filename_refused"),
        ([field(b"\xff\xfe"), FILE], "filename_refused"),
        ([], "file_missing"),
        ([field("n.txt")], "file_missing"),
        ([form_part("document", b"content", filename="f.txt")], "file_missing"),
    ],
)
async def test_a_form_is_refused_when_name_or_file_is_unusable(shared: Shared, parts: list[bytes], code: str) -> None:
    assert_problem(await post_form(shared, *parts), 422, code)
    shared.assert_nothing_left()


@pytest.fixture(params=["field", "parameter"])
def named(request: pytest.FixtureRequest) -> Named:
    """`named("n.txt")`: a form whose file has this name."""
    if request.param == "field":
        return lambda name: [field(name), FILE]
    return lambda name: [form_part("file", b"content", filename=name)]


CONTROL_CHARACTERS = ("a\0b", "a\x1fb", "a\x7f", "a\x85b", "a\tb", "  ", "a\uffff")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\\b", "..", ".", *CONTROL_CHARACTERS])
async def test_a_name_is_refused_when_it_is_a_path_or_has_controls(shared: Shared, named: Named, name: str) -> None:
    answer = await post_form(shared, *named(name))
    assert_problem(answer, 422, "filename_refused")
    assert name.strip(" .") not in answer.json()["detail"] or not name.strip(" .")
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    "name",
    ["空 ü ñ.txt", "отчёт.pdf", "تقرير.pdf", "דוח", "🗂️.bin", "ไฟล์", " spaces  inside ", "a+b&c=d%41#e?", "n" * 255],
)
async def test_the_name_is_kept_when_it_is_of_any_script(shared: Shared, named: Named, name: str) -> None:
    receipt = shared.assert_stored(await post_form(shared, *named(name)), b"content")
    assert receipt["name"] == name
    for bucket in shared.buckets:
        kept = bucket.objects[receipt["key"]].metadata[FILE_NAME]
        assert kept.isascii()
        assert unquote(kept) == name


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form at all",
        FILE,
        form(FILE)[:-4],
        FILE[:40],
        form(FILE).replace(BOUNDARY.encode(), b"another"),
        form(FILE).replace(b"\r\n", b"\n"),
        form(FILE, FILE),
        form(form_part("file", MANY_PARTS, filename="f"), FILE),
        form(form_part("file", b"content", filename="n" * 10_000)),
        form(form_part("file", b"content", filename="@")).replace(b"@", b"\xff\xfe"),
        f"--{BOUNDARY}\r\n\r\ncontent\r\n".encode() + FORM_END,
        f"--{BOUNDARY}\r\nnonsense\r\n\r\ncontent\r\n".encode() + FORM_END,
        form(FILE.replace(b"\r\n\r\n", b"\r\n" + b"x: y\r\n" * 20 + b"\r\n")),
        form(*[form_part("a", b"")] * MAX_FIELDS, FILE),
        form(form_part("file", MANY_PARTS, filename="f"), *[form_part("a", b"")] * MAX_FIELDS),
    ],
)
async def test_the_form_is_refused_when_it_is_broken(shared: Shared, body: bytes) -> None:
    answer = await exchange(shared, form_head(f"content-length: {len(body)}"), body)
    assert_problem(answer, 400, "malformed_form")
    shared.assert_nothing_left()


async def test_the_form_is_refused_early_when_it_has_100_000_fields() -> None:
    async with memory_service(max_request_bytes=0) as service:
        answer = await post_form(service, FILE, form_part("a", b"") * 100_000)
        assert_problem(answer, 400, "malformed_form")
        assert str(MAX_FIELDS) in answer.json()["detail"]
        service.assert_nothing_left()


@pytest.mark.parametrize(
    "content_type",
    [
        *[None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=the-boundary"],
        *[
            f"multipart/form-data{rest}"
            for rest in ("", "; boundary=", '; boundary="ends in a space "', "; boundary=ü")
        ],
        "multipart/form-data; boundary=" + "x" * 71,
    ],
)
async def test_the_form_is_refused_when_its_type_or_boundary_is_wrong(shared: Shared, content_type: str | None) -> None:
    body = form(FILE)
    fields = [] if content_type is None else [f"content-type: {content_type}"]
    request = head("POST", "/upload", *fields, f"content-length: {len(body)}")
    assert_problem(await exchange(shared, request, body), 415, "not_multipart")
    shared.assert_nothing_left()


@pytest.mark.parametrize(("sent", "kept"), [('image/png; a="b"', 'image/png; a="b"'), ("", "application/octet-stream")])
async def test_the_files_own_type_is_kept_when_it_is_one(shared: Shared, sent: str, kept: str) -> None:
    part = FILE.replace(b"\r\n\r\n", f"\r\ncontent-type: {sent}\r\n\r\n".encode())
    answer = await post_form(shared, part)
    assert answer.json()["type"] == kept
    assert shared.buckets[1].objects[answer.json()["key"]].content_type == kept

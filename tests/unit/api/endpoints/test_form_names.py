"""POST /upload: the name that the field `file` carries, byte by byte. It is the one that was sent, or it is refused."""

import re
from urllib.parse import quote

import pytest

from tests.unit.api.expectations import Shared, assert_problem
from tests.unit.api.rawhttp import BOUNDARY, form_part, post_form

pytestmark = pytest.mark.asyncio(loop_scope="module")

ESCAPED = "r%C3%A9sum%C3%A9.pdf"
NAME = "résumé.pdf"


def file_part(parameters: str | bytes, *headers: str, content: bytes = b"content") -> bytes:
    """A field whose Content-Disposition has these parameters, in the bytes that are given."""
    first = b"Content-Disposition: form-data" + (parameters if isinstance(parameters, bytes) else parameters.encode())
    lines = [f"--{BOUNDARY}".encode(), first, *(header.encode() for header in headers), b"", content, b""]
    return b"\r\n".join(lines)


FIELD = form_part("filename", b"field.txt")
FILE = file_part('; name="file"; filename="f.txt"')


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        # filename* (RFC 8187) wins, wherever it stands
        (f"; name=file; filename=x.txt; filename*=utf-8''{ESCAPED}", NAME),
        (f"; name=file; filename*=UTF-8''{ESCAPED}; filename=x.txt", NAME),
        (f"; name=file; filename*=UTF-8''{ESCAPED}", NAME),
        (f'; name="file"; FileName="x.txt"; FILENAME*=utf-8\'en-GB\'{ESCAPED}', NAME),
        ("; name=file; filename*=iso-8859-1''r%E9sum%E9.pdf", NAME),
        ("; name=file; filename*=us-ascii''a%20b.txt", "a b.txt"),
        ("; filename*=utf-8''a%22b.txt; filename=\"=?broken\"; name*=utf-8''file", 'a"b.txt'),
        (b"; name=file; filename=\"\xff\"; filename*=utf-8''x", "x"),
        # encoded words (RFC 2047): what they say is the name
        ('; name=file; filename="=?utf-8?B?csOpc3Vtw6kucGRm?="', NAME),
        ('; name=file; filename="=?UTF-8?Q?r=C3=A9sum=c3=a9.pdf?="', NAME),
        ('; name=file; filename="=?iso-8859-1?q?r=E9sum=E9_2.pdf?="', "résumé 2.pdf"),
        ('; name=file; filename="=?utf-8?B?csOp?= =?utf-8?B?c3Vtw6kucGRm?="', NAME),
        ("; name=file; filename=\"=?utf-8?B?csOpc3Vtw6kucGRm?=\"; filename*=utf-8''other.pdf", "other.pdf"),
        # quotes and percent signs, as browsers write them and as others do
        ('; name="file"; filename="say %22hi%22.txt"', 'say "hi".txt'),
        ('; name="file"; filename="say \\"hi\\".txt"', 'say "hi".txt'),
        ('; name="file"; filename="100%.txt"', "100%.txt"),
        ('; name="file"; filename="a%20b%41.txt"', "a%20b%41.txt"),
        ("; name=file; filename=a%22b.txt", "a%22b.txt"),  # a token has no escapes
        ('; name="file"; filename="a;b=c; filename=d.txt"', "a;b=c; filename=d.txt"),
        ('; name="file"; filename="(1) [2] what=?.txt"', "(1) [2] what=?.txt"),
        # white space, empty parameters, unknown ones
        (';\tname="file"\t;\tfilename="tab.txt"', "tab.txt"),
        (";name=file;filename=tight.txt", "tight.txt"),
        ('  ;  name = "file" ;; filename = "wide.txt" ; ', "wide.txt"),
        ('; size=7; name=file; creation-date="Wed, 12 Feb 1997"; filename=x.txt', "x.txt"),
        ("; name=file; filename=report-1.final_2+3.pdf", "report-1.final_2+3.pdf"),
        ('; name="file";\r\n filename="fol\r\n ded.txt"', "fol ded.txt"),
        ('; name="file"; filename="日本語.txt"', "日本語.txt"),
    ],
)
async def test_the_name_is_kept_when_its_header_can_be_read(shared: Shared, parameters: str | bytes, name: str) -> None:
    receipt = shared.assert_stored(await post_form(shared, file_part(parameters)), b"content")
    assert receipt["name"] == name


@pytest.mark.parametrize(
    "parameters",
    [
        *(
            f"; name=file; filename{value}"
            for value in ("=my report.pdf", "=report(1).pdf", "=[x].pdf", "=résumé.pdf", "=a/b", "=a@b", "=", "")
        ),
        '; name="file"; filename="say "hi".txt"',
        '; name="file"; filename="a.txt"b',
        '; name="file"; filename="a.txt" b',
        '; name="file" filename="a.txt"',
        '; name="file", filename="a.txt"',
        '; name="file"; filename="a.txt',
        '; name="file"; filename="a\\"',
        '; name="file"; filename=a"b"',
        '; name="file"; filename="a.txt" (a comment)',
        '; name="file"; filename="a.txt"; filename="b.txt"',
        '; name="file"; filename="a.txt"; FILENAME="a.txt"',
        '; name="file"; name="other"; filename="a.txt"',
        "; name=file; filename*=utf-8''a; filename*=utf-8''b",
        '; name="file"; filename="a.txt"; =b',
        '; name="file"; filename="a.txt"; b c=d',
        # what cannot be read is no reason to take the second best
        *(
            f'; name=file; filename="a.txt"; filename*={value}'
            for value in (
                *("\"utf-8''b.txt\"", "b.txt", "utf-8'b.txt", "utf-8''%ff", "utf-8''b%2", "utf-8''b%zz", "''b.txt"),
                "koi8-r''%C1",
            )
        ),
        "; name=file; filename*=utf-8''it's.txt",
        '; name=file; filename="a.txt"; filename*0="b"; filename*1=".txt"',
        "; name=file; filename*0*=utf-8''b; filename*1*=.txt",
        b'; name="file"; filename="r\xe9sum\xe9.pdf"',
    ],
)
async def test_the_form_is_refused_when_the_name_cannot_be_read(shared: Shared, parameters: str | bytes) -> None:
    answer = await post_form(shared, file_part(parameters))
    assert_problem(answer, 400, "malformed_form")
    assert re.search(r"Content-Disposition|filename[*]|filename of the field `file`", answer.json()["detail"])
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ('; name="file"; filename="a%0Ab.txt"', "%0A"),
        ('; name="file"; filename="a%0D%0Ab.txt"', "%0D"),
        ("; name=file; filename*=utf-8''a%0Ab.txt", "control character"),
        ("; name=file; filename*=utf-8''..%2Fb.txt", "path"),
        ('; name="file"; filename="C:\\Users\\me\\b.txt"', "path"),
        ('; name="file"; filename="\\\\host\\share\\b.txt"', "path"),
        ('; name="file"; filename="a\\b.txt"', "path"),
        ('; name=file; filename="=?utf-8?B?Li4vYg==?="', "path"),
        *(
            (f'; name=file; filename="{words}"', "encoded word")
            for words in (
                *("=?utf-8?B?!!!?=", "=?utf-8?B?/w==?=", "=?utf-8?Q?a=zz?=", "=?koi8-r?B?wQ==?="),
                *("a =?utf-8?B?w7w=?=", "=?utf-8?B?w7w=?= =?iso-8859-1?Q?=E9?="),
            )
        ),
    ],
)
async def test_the_name_is_refused_when_its_value_is_no_name(shared: Shared, parameters: str, word: str) -> None:
    answer = await post_form(shared, file_part(parameters))
    assert_problem(answer, 422, "filename_refused")
    assert word in answer.json()["detail"]
    assert "the field `file`" in answer.json()["detail"]
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    "parameters",
    [
        "; name=file",
        b'; name="file"; filename="r\xe9sum\xe9.pdf"',
        "; name=file; filename*=utf-8''%ff",
        "; name=file; filename=x; filename*=utf-8''y",
        '; name="file"; filename="=?utf-8?B?!?="',
        '; name="file"; filename="a%0Ab"',
        '; name="file"; filename=""',
    ],
)
@pytest.mark.parametrize("field_first", [True, False])
async def test_the_field_wins_when_it_is_there(shared: Shared, parameters: str | bytes, field_first: bool) -> None:
    parts = [FIELD, file_part(parameters)]
    answer = await post_form(shared, *(parts if field_first else reversed(parts)))
    assert shared.assert_stored(answer, b"content")["name"] == "field.txt"


@pytest.mark.parametrize(
    "header", ["; name=filename; filename=my report.pdf", '; name="filename', '; name="a"; name="b"']
)
async def test_the_form_is_refused_when_the_header_of_another_field_cannot_be_read(shared: Shared, header: str) -> None:
    for parts in ([file_part(header), FILE], [FILE, file_part(header)]):
        assert_problem(await post_form(shared, *parts), 400, "malformed_form")
    shared.assert_nothing_left()


@pytest.mark.parametrize("fields", [[], [FIELD]])
async def test_no_file_was_chosen_when_its_field_has_no_name_or_bytes(shared: Shared, fields: list[bytes]) -> None:
    nothing = file_part('; name="file"; filename=""', "Content-Type: application/octet-stream", content=b"")
    for parts in ([*fields, nothing], [nothing, *fields]):
        answer = await post_form(shared, *parts)
        assert_problem(answer, 422, "file_missing")
        assert "no file was chosen" in answer.json()["detail"]
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    "part", [file_part("; name=file; filename=e.txt", content=b""), file_part("; name=file", content=b"")]
)
async def test_an_empty_file_is_stored_when_it_has_a_name(shared: Shared, part: bytes) -> None:
    receipt = shared.assert_stored(await post_form(shared, FIELD, part), b"")
    assert (receipt["name"], receipt["size"]) == ("field.txt", 0)


@pytest.mark.parametrize("header", ["Content-Disposition: form-data; name=file", "Content-Type: a/b"])
async def test_the_form_is_refused_when_a_field_has_a_header_twice(shared: Shared, header: str) -> None:
    part = file_part('; name="file"; filename="f.txt"', "Content-Type: text/plain", header)
    assert_problem(await post_form(shared, part), 400, "malformed_form")
    shared.assert_nothing_left()


async def test_the_name_comes_back_when_the_file_is_read(shared: Shared) -> None:
    name = 'a\'b (1)* "ü" %41.txt'
    answer = await post_form(shared, file_part(f"; name=file; filename*=utf-8''{quote(name, safe='')}"))
    async with shared.client() as client:
        read = await client.get(answer.headers["location"])
    # What this service sends as a name can be sent back to it.
    sent_back = read.headers["content-disposition"].removeprefix("attachment")
    again = await post_form(shared, file_part(f"; name=file{sent_back}"))
    assert answer.json()["name"] == again.json()["name"] == name

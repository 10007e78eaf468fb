"""POST /upload: forms as well-known clients write them, byte by byte, and how they say that a value is encoded."""

import asyncio
import re
import shutil
from collections.abc import Sequence
from email import encoders
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import HTTP
from pathlib import Path

import pytest
from urllib3 import encode_multipart_formdata

from testkit.serviceprocess import TOKEN
from tests.unit.api.expectations import Shared, assert_problem
from tests.unit.api.rawhttp import Answer, exchange, head

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = bytes(range(256)) * 4


Lines = Sequence[str | bytes]


def lines(*each: str | bytes) -> bytes:
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in each)


def form_of(boundary: str, *fields: Lines) -> bytes:
    """Each field has the lines of its headers, then its value."""
    parts = (lines(f"--{boundary}", *headers, "", value, "") for *headers, value in fields)
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


async def post(shared: Shared, kind: str, body: bytes) -> Answer:
    request = head("POST", "/upload", f"content-type: {kind}", f"content-length: {len(body)}")
    return await exchange(shared, request, body)


def assert_stored(shared: Shared, answer: Answer, name: str) -> None:
    receipt = shared.assert_stored(answer, CONTENT)
    assert (receipt["name"], receipt["size"]) == (name, len(CONTENT))


FORM_DATA, PDF = "Content-Disposition: form-data; ", "Content-Type: application/pdf"
# The name that the client means, the type of the request, the fields.
CLIENTS: dict[str, tuple[str, str, *tuple[Lines, ...]]] = {
    ".NET": (
        "résumé 1.pdf",
        'multipart/form-data; boundary="6f1c9c6e-4f5b-4f7b-9e0b-0f4a5b0c7d11"',
        (
            PDF,
            f'{FORM_DATA}name=file; filename="=?utf-8?B?csOpc3Vtw6kgMS5wZGY=?="; '
            "filename*=utf-8''r%C3%A9sum%C3%A9%201.pdf",
            CONTENT,
        ),
    ),
    ".NET, a field": (
        "résumé.pdf",
        'multipart/form-data; boundary="6f1c9c6e"',
        ("Content-Type: text/plain; charset=utf-8", f"{FORM_DATA}name=filename", "résumé.pdf"),
        (f"{FORM_DATA}name=file; filename=report.pdf; filename*=utf-8''report.pdf", CONTENT),
    ),
    "Chrome": (
        'say "hü"; 100%.pdf',
        "multipart/form-data; boundary=----WebKitFormBoundaryZ1yXW5vutsrQponm",
        (f'{FORM_DATA}name="file"; filename="say %22hü%22; 100%.pdf"', PDF, CONTENT),
        (f'{FORM_DATA}name="submit"', "Send"),
    ),
    "Firefox": (
        "from the page.pdf",
        "multipart/form-data; boundary=---------------------------9051914041544843365972754266",
        (f'{FORM_DATA}name="filename"', "from the page.pdf"),
        (f'{FORM_DATA}name="file"; filename="résumé.pdf"', PDF, CONTENT),
    ),
    "OkHttp and Retrofit": (
        "résumé.pdf",
        "multipart/form-data; boundary=0f4a5b0c-7d11-4f5b-9e0b-6f1c9c6e4f7b",
        (
            f'{FORM_DATA}name="filename"',
            "Content-Transfer-Encoding: binary",
            "Content-Type: text/plain; charset=UTF-8",
            "Content-Length: 12",
            "résumé.pdf",
        ),
        (f'{FORM_DATA}name="file"; filename="%22.pdf"', PDF, f"Content-Length: {len(CONTENT)}", CONTENT),
    ),
    "Apache HttpClient": (
        "résumé.pdf",
        "multipart/form-data; boundary=oS8gXW_5tK-3Dd4Hq",
        (
            f'{FORM_DATA}name="filename"',
            "Content-Type: text/plain; charset=ISO-8859-1",
            "Content-Transfer-Encoding: 8bit",
            "résumé.pdf".encode("latin-1"),
        ),
        (
            f'{FORM_DATA}name="file"; filename="r?sum?.pdf"',
            "Content-Type: application/octet-stream",
            "Content-Transfer-Encoding: binary",
            CONTENT,
        ),
    ),
    "Apache HttpClient, a charset of its own": (
        "résumé.pdf",
        "multipart/form-data; boundary=oS8gXW; charset=ISO-8859-1",
        (f'{FORM_DATA}name="file"; filename="résumé.pdf"'.encode("latin-1"), CONTENT),
    ),
    "Jakarta Mail": (
        "résumé 1.pdf",
        "multipart/form-data; boundary=----=_Part_0_1234567.1700000000000",
        (
            PDF,
            "Content-Transfer-Encoding: binary",
            f'{FORM_DATA}name=file; filename="=?UTF-8?Q?r=C3=A9sum=C3=A9_1.pdf?="',
            CONTENT,
        ),
    ),
    "Go": (
        'say "hi".pdf',
        "multipart/form-data; boundary=5e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf",
        (f'{FORM_DATA}name="file"; filename="say \\"hi\\".pdf"', "Content-Type: application/octet-stream", CONTENT),
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_name_is_the_intended_one_when_a_well_known_client_sends_it(shared: Shared, client: str) -> None:
    name, kind, *fields = CLIENTS[client]
    boundary = re.findall(r'boundary="?([^";]+)', kind)[0]
    assert_stored(shared, await post(shared, kind, form_of(boundary, *fields)), name)


NAMES = ["plain.txt", 'say "hi" ü 100%.txt', "日本語 ; a=b.txt"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_name_is_kept_when_python_clients_send_it(shared: Shared, name: str) -> None:
    body, kind = encode_multipart_formdata({"file": (name, CONTENT, "application/pdf")})  # so does requests
    assert_stored(shared, await post(shared, kind, body), name)
    async with shared.client() as client:
        answer = await client.post("/upload", files={"file": (name, CONTENT)})
    assert answer.json()["name"] == name


@pytest.mark.parametrize("name", NAMES)
async def test_the_name_is_kept_when_pythons_email_package_makes_the_form(shared: Shared, name: str) -> None:
    form = MIMEMultipart("form-data", boundary="=====_of mail_=====")
    file = MIMEApplication(CONTENT, _encoder=encoders.encode_noop, policy=HTTP)
    file["Content-Transfer-Encoding"] = "binary"
    file.add_header("Content-Disposition", "form-data", name="file", filename=("utf-8", "", name))
    form.attach(file)
    body = form_of("=====_of mail_=====", (*(f"{key}: {value}" for key, value in file.items()), CONTENT))
    assert_stored(shared, await post(shared, form["Content-Type"].replace("\n", ""), body), name)


async def test_the_form_is_refused_when_pythons_email_package_encodes_its_values(shared: Shared) -> None:
    form = MIMEMultipart("form-data", policy=HTTP)
    for part, name in ((MIMEText("résumé.txt", _charset="utf-8"), "filename"), (MIMEApplication(CONTENT), "file")):
        part.add_header("Content-Disposition", "form-data", name=name)
        form.attach(part)
    whole = form.as_bytes(policy=HTTP)
    answer = await post(shared, form["Content-Type"].replace("\r\n", ""), whole.partition(b"\r\n\r\n")[2])
    assert_problem(answer, 415, "encoding_refused")
    assert "Content-Transfer-Encoding" in answer.json()["detail"]
    shared.assert_nothing_left()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize("options", [[], ["--form-escape"]])
@pytest.mark.parametrize("name", NAMES)
async def test_a_name_is_kept_when_curl_sends_it(shared: Shared, tmp_path: Path, name: str, options: list[str]) -> None:
    (tmp_path / "sent").write_bytes(CONTENT)
    quoted = name.replace('"', '\\"')
    curl = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "--write-out", "%{http_code}"),
        *("-H", f"Authorization: Bearer {TOKEN}", *options, "-F", f'file=@sent;filename="{quoted}"'),
        *("-o", "answer", f"{shared.url}/upload"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    status, _ = await curl.communicate()
    assert_stored(shared, Answer(int(status), {}, (tmp_path / "answer").read_bytes()), name)


FILE: Lines = (f"{FORM_DATA}name=file; filename=f.txt", CONTENT)
NAME = f"{FORM_DATA}name=filename"


async def post_fields(shared: Shared, *fields: Lines) -> Answer:
    return await post(shared, "multipart/form-data; boundary=b", form_of("b", *fields))


@pytest.mark.parametrize(
    ("coding", "taken"),
    [
        *[(coding, True) for coding in ("7bit", "8bit", "binary", "Binary", " 8BIT ")],
        *[(coding, False) for coding in ("base64", "BASE64", "quoted-printable", "x-uuencode", "gzip", "8bit, base64")],
        *[(coding, False) for coding in ("", "binary; x=y", "identity")],
    ],
)
@pytest.mark.parametrize("where", ["file", "filename", "note"])
async def test_a_value_is_refused_when_it_is_encoded(shared: Shared, where: str, coding: str, taken: bool) -> None:
    fields: dict[str, Lines] = {"note": (f"{FORM_DATA}name=note", "x"), "filename": (NAME, "f.txt"), "file": FILE}
    fields[where] = (f"content-transfer-encoding: {coding}", *fields[where])
    for order in (fields.values(), reversed(fields.values())):
        answer = await post_fields(shared, *order)
        if taken:
            assert_stored(shared, answer, "f.txt")
        else:
            assert_problem(answer, 415, "encoding_refused")
            shared.assert_nothing_left()


@pytest.mark.parametrize(
    ("kind", "value", "name"),
    [
        ("text/plain", "ü.txt".encode(), "ü.txt"),
        ("text/plain; charset=utf-8", "ü.txt".encode(), "ü.txt"),
        ('text/plain;charset="UTF-8"', "ü.txt".encode(), "ü.txt"),
        ("text/plain; charset=us-ascii", b"u.txt", "u.txt"),
        ("text/plain; charset=iso-8859-1", "ü.txt".encode("latin-1"), "ü.txt"),
        ("text/plain; charset=iso-8859-1", b"\xc3\xbc.txt", "Ã¼.txt"),  # which would be UTF-8, too
        ("application/octet-stream", "ü.txt".encode(), "ü.txt"),
    ],
)
async def test_the_name_is_decoded_when_it_has_a_charset(shared: Shared, kind: str, value: bytes, name: str) -> None:
    assert_stored(shared, await post_fields(shared, (NAME, f"Content-Type: {kind}", value), FILE), name)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        *((f"text/plain; charset={charset}", 415, "encoding_refused") for charset in ("utf-16", "utf-7", "none")),
        ("application/json", 415, "encoding_refused"),  # the name would stand in quotes
        ("text/plain; charset", 400, "malformed_form"),
        ("text/plain; charset=utf-8; charset=utf-16", 400, "malformed_form"),
        ("text/plain; charset=us-ascii", 422, "filename_refused"),
    ],
)
async def test_the_name_is_refused_when_it_cannot_be_read(shared: Shared, kind: str, status: int, code: str) -> None:
    field = (NAME, f"Content-Type: {kind}", '"ü+AOQ-.txt"')
    for order in ([field, FILE], [FILE, field]):
        answer = await post_fields(shared, *order)
        assert_problem(answer, status, code)
        assert "`filename`" in answer.json()["detail"]
    shared.assert_nothing_left()


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data; boundary=----=_Part_1(2)+3,4/5:6?7",
        'multipart/form-data; boundary="----=_Part_1(2)+3,4/5:6?7"',
        'multipart/form-data;\tcharset=utf-8;boundary="----=_Part_1(2)+3,4/5:6?7" ',
        "Multipart/Form-Data; Boundary=----=_Part_1(2)+3,4/5:6?7;",
    ],
)
async def test_the_form_is_read_when_its_boundary_has_signs(shared: Shared, kind: str) -> None:
    assert_stored(shared, await post(shared, kind, form_of("----=_Part_1(2)+3,4/5:6?7", FILE)), "f.txt")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        *(
            (f"multipart/form-data; boundary={rest}", "not_multipart")
            for rest in (
                *("b c", "b; boundary=c", "b; boundary=b", '"b', '"b"c', "b; charset"),
                *("b, multipart/form-data; boundary=b", "b\r\ncontent-type: multipart/form-data; boundary=b"),
            )
        ),
        ("multipart/form-data; boundary=b; charset=utf-16", "encoding_refused"),
    ],
)
async def test_the_form_is_refused_when_its_type_cannot_be_read(shared: Shared, kind: str, code: str) -> None:
    answer = await post(shared, kind, form_of("b", FILE))
    assert_problem(answer, 415, code)
    assert any(word in answer.json()["detail"] for word in ("Content-Type", "charset"))
    shared.assert_nothing_left()

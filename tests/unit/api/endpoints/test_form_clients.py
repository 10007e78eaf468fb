"""POST /upload: forms as well-known clients write them, byte by byte, and how they say that a value is encoded."""

import asyncio
import shutil
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


def lines(*each: str | bytes) -> bytes:
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode() for line in each)


async def post(shared: Shared, kind: str, body: bytes) -> Answer:
    request = head("POST", "/upload", f"content-type: {kind}", f"content-length: {len(body)}")
    return await exchange(shared.service, request, body)


def assert_stored(shared: Shared, answer: Answer, name: str) -> None:
    assert answer.status_code == 201, answer.body
    receipt = answer.json()
    assert (receipt["name"], receipt["size"]) == (name, len(CONTENT))
    for bucket in shared.buckets:
        assert bucket.objects[receipt["key"]].body == CONTENT


# The type of the request, the body, the name that the client means.
CLIENTS = {
    ".NET": (
        'multipart/form-data; boundary="6f1c9c6e-4f5b-4f7b-9e0b-0f4a5b0c7d11"',
        lines(
            "--6f1c9c6e-4f5b-4f7b-9e0b-0f4a5b0c7d11",
            "Content-Type: application/pdf",
            'Content-Disposition: form-data; name=file; filename="=?utf-8?B?csOpc3Vtw6kgMS5wZGY=?="; '
            "filename*=utf-8''r%C3%A9sum%C3%A9%201.pdf",
            "",
            CONTENT,
            "--6f1c9c6e-4f5b-4f7b-9e0b-0f4a5b0c7d11--",
            "",
        ),
        "résumé 1.pdf",
    ),
    ".NET, a field": (
        'multipart/form-data; boundary="6f1c9c6e"',
        lines(
            "--6f1c9c6e",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Disposition: form-data; name=filename",
            "",
            "résumé.pdf",
            "--6f1c9c6e",
            "Content-Disposition: form-data; name=file; filename=report.pdf; filename*=utf-8''report.pdf",
            "",
            CONTENT,
            "--6f1c9c6e--",
            "",
        ),
        "résumé.pdf",
    ),
    "Chrome": (
        "multipart/form-data; boundary=----WebKitFormBoundaryZ1yXW5vutsrQponm",
        lines(
            "------WebKitFormBoundaryZ1yXW5vutsrQponm",
            'Content-Disposition: form-data; name="file"; filename="say %22hü%22; 100%.pdf"',
            "Content-Type: application/pdf",
            "",
            CONTENT,
            "------WebKitFormBoundaryZ1yXW5vutsrQponm",
            'Content-Disposition: form-data; name="submit"',
            "",
            "Send",
            "------WebKitFormBoundaryZ1yXW5vutsrQponm--",
            "",
        ),
        'say "hü"; 100%.pdf',
    ),
    "Firefox": (
        "multipart/form-data; boundary=---------------------------9051914041544843365972754266",
        lines(
            "-----------------------------9051914041544843365972754266",
            'Content-Disposition: form-data; name="filename"',
            "",
            "from the page.pdf",
            "-----------------------------9051914041544843365972754266",
            'Content-Disposition: form-data; name="file"; filename="résumé.pdf"',
            "Content-Type: application/pdf",
            "",
            CONTENT,
            "-----------------------------9051914041544843365972754266--",
            "",
        ),
        "from the page.pdf",
    ),
    "OkHttp and Retrofit": (
        "multipart/form-data; boundary=0f4a5b0c-7d11-4f5b-9e0b-6f1c9c6e4f7b",
        lines(
            "--0f4a5b0c-7d11-4f5b-9e0b-6f1c9c6e4f7b",
            'Content-Disposition: form-data; name="filename"',
            "Content-Transfer-Encoding: binary",
            "Content-Type: text/plain; charset=UTF-8",
            "Content-Length: 12",
            "",
            "résumé.pdf",
            "--0f4a5b0c-7d11-4f5b-9e0b-6f1c9c6e4f7b",
            'Content-Disposition: form-data; name="file"; filename="%22.pdf"',
            "Content-Type: application/pdf",
            f"Content-Length: {len(CONTENT)}",
            "",
            CONTENT,
            "--0f4a5b0c-7d11-4f5b-9e0b-6f1c9c6e4f7b--",
            "",
        ),
        "résumé.pdf",
    ),
    "Apache HttpClient": (
        "multipart/form-data; boundary=oS8gXW_5tK-3Dd4Hq",
        lines(
            "--oS8gXW_5tK-3Dd4Hq",
            'Content-Disposition: form-data; name="filename"',
            "Content-Type: text/plain; charset=ISO-8859-1",
            "Content-Transfer-Encoding: 8bit",
            "",
            "résumé.pdf".encode("latin-1"),
            "--oS8gXW_5tK-3Dd4Hq",
            'Content-Disposition: form-data; name="file"; filename="r?sum?.pdf"',
            "Content-Type: application/octet-stream",
            "Content-Transfer-Encoding: binary",
            "",
            CONTENT,
            "--oS8gXW_5tK-3Dd4Hq--",
            "",
        ),
        "résumé.pdf",
    ),
    "Apache HttpClient, a charset of its own": (
        "multipart/form-data; boundary=oS8gXW; charset=ISO-8859-1",
        lines(
            "--oS8gXW",
            'Content-Disposition: form-data; name="file"; filename="résumé.pdf"'.encode("latin-1"),
            "",
            CONTENT,
            "--oS8gXW--",
            "",
        ),
        "résumé.pdf",
    ),
    "Jakarta Mail": (
        "multipart/form-data; boundary=----=_Part_0_1234567.1700000000000",
        lines(
            "------=_Part_0_1234567.1700000000000",
            "Content-Type: application/pdf",
            "Content-Transfer-Encoding: binary",
            'Content-Disposition: form-data; name=file; filename="=?UTF-8?Q?r=C3=A9sum=C3=A9_1.pdf?="',
            "",
            CONTENT,
            "------=_Part_0_1234567.1700000000000--",
            "",
        ),
        "résumé 1.pdf",
    ),
    "Go": (
        "multipart/form-data; boundary=5e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf",
        lines(
            "--5e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf",
            'Content-Disposition: form-data; name="file"; filename="say \\"hi\\".pdf"',
            "Content-Type: application/octet-stream",
            "",
            CONTENT,
            "--5e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf0e9a6cbb3d8f9e4bcf--",
            "",
        ),
        'say "hi".pdf',
    ),
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_the_name_is_the_one_that_was_meant_when_a_well_known_client_sends_it(
    shared: Shared, client: str
) -> None:
    kind, body, name = CLIENTS[client]
    assert_stored(shared, await post(shared, kind, body), name)


NAMES = ["plain.txt", 'say "hi" ü 100%.txt', "日本語 ; a=b.txt"]


@pytest.mark.parametrize("name", NAMES)
async def test_the_name_is_kept_when_python_clients_send_it(shared: Shared, name: str) -> None:
    body, kind = encode_multipart_formdata({"file": (name, CONTENT, "application/pdf")})  # so does requests
    assert_stored(shared, await post(shared, kind, body), name)
    async with shared.service.client() as client:
        answer = await client.post("/upload", files={"file": (name, CONTENT)})
    assert answer.json()["name"] == name


@pytest.mark.parametrize("name", NAMES)
async def test_the_name_is_kept_when_pythons_email_package_makes_the_form(shared: Shared, name: str) -> None:
    form = MIMEMultipart("form-data", boundary="=====_of mail_=====")
    file = MIMEApplication(CONTENT, _encoder=encoders.encode_noop, policy=HTTP)
    file["Content-Transfer-Encoding"] = "binary"
    file.add_header("Content-Disposition", "form-data", name="file", filename=("utf-8", "", name))
    form.attach(file)
    body = lines("--=====_of mail_=====", *(f"{key}: {value}" for key, value in file.items()), "", CONTENT)
    body += lines("", "--=====_of mail_=====--", "")
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
async def test_the_name_is_kept_when_curl_sends_it(
    shared: Shared, tmp_path: Path, name: str, options: list[str]
) -> None:
    (tmp_path / "sent").write_bytes(CONTENT)
    quoted = name.replace('"', '\\"')
    curl = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "30", "--write-out", "%{http_code}"),
        *("-H", f"Authorization: Bearer {TOKEN}", *options, "-F", f'file=@sent;filename="{quoted}"'),
        *("-o", "answer", f"{shared.service.url}/upload"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    status, _ = await curl.communicate()
    assert_stored(shared, Answer(int(status), {}, (tmp_path / "answer").read_bytes()), name)


def form_with(*fields: tuple[str, str, bytes]) -> bytes:
    """Each has parameters of its Content-Disposition, further headers, and a value."""
    told = (
        lines("--b", f"Content-Disposition: form-data; {first}", *filter(None, further.split("\n")), "", value, "")
        for first, further, value in fields
    )
    return b"".join(told) + b"--b--\r\n"


FILE = ("name=file; filename=f.txt", "", CONTENT)


@pytest.mark.parametrize(
    ("coding", "taken"),
    [
        *[(coding, True) for coding in ("7bit", "8bit", "binary", "Binary", " 8BIT ")],
        *[(coding, False) for coding in ("base64", "BASE64", "quoted-printable", "x-uuencode", "gzip", "8bit, base64")],
        *[(coding, False) for coding in ("", "binary; x=y", "identity")],
    ],
)
@pytest.mark.parametrize("where", ["file", "filename", "note"])
async def test_an_encoded_value_is_refused_when_the_form_says_so(
    shared: Shared, where: str, coding: str, taken: bool
) -> None:
    encoded = f"content-transfer-encoding: {coding}"
    fields = [("name=note", "", b"x"), ("name=filename", "", b"f.txt"), FILE]
    sent = [(first, encoded if first.split(";")[0] == f"name={where}" else "", value) for first, _, value in fields]
    for order in (sent, sent[::-1]):
        answer = await post(shared, "multipart/form-data; boundary=b", form_with(*order))
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
async def test_the_name_is_decoded_when_its_field_declares_a_charset(
    shared: Shared, kind: str, value: bytes, name: str
) -> None:
    body = form_with(("name=filename", f"Content-Type: {kind}", value), FILE)
    assert_stored(shared, await post(shared, "multipart/form-data; boundary=b", body), name)


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("text/plain; charset=utf-16", 415, "encoding_refused"),
        ("text/plain; charset=utf-7", 415, "encoding_refused"),
        ("text/plain; charset=none", 415, "encoding_refused"),
        ("application/json", 415, "encoding_refused"),  # the name would stand in quotes
        ("text/plain; charset", 400, "malformed_form"),
        ("text/plain; charset=utf-8; charset=utf-16", 400, "malformed_form"),
        ("text/plain; charset=us-ascii", 422, "filename_refused"),
    ],
)
async def test_the_name_is_refused_when_its_field_cannot_be_read(
    shared: Shared, kind: str, status: int, code: str
) -> None:
    field = ("name=filename", f"Content-Type: {kind}", '"ü+AOQ-.txt"'.encode())
    for order in ([field, FILE], [FILE, field]):
        answer = await post(shared, "multipart/form-data; boundary=b", form_with(*order))
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
    body = form_with(FILE).replace(b"--b", b"------=_Part_1(2)+3,4/5:6?7")
    assert_stored(shared, await post(shared, kind, body), "f.txt")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("multipart/form-data; boundary=b c", "not_multipart"),
        ("multipart/form-data; boundary=b; boundary=c", "not_multipart"),
        ("multipart/form-data; boundary=b; boundary=b", "not_multipart"),
        ("multipart/form-data; boundary=b, multipart/form-data; boundary=b", "not_multipart"),
        ('multipart/form-data; boundary="b', "not_multipart"),
        ('multipart/form-data; boundary="b"c', "not_multipart"),
        ("multipart/form-data; boundary=b; charset", "not_multipart"),
        ("multipart/form-data; boundary=b\r\ncontent-type: multipart/form-data; boundary=b", "not_multipart"),
        ("multipart/form-data; boundary=b; charset=utf-16", "encoding_refused"),
    ],
)
async def test_the_form_is_refused_when_its_type_cannot_be_read_to_its_end(
    shared: Shared, kind: str, code: str
) -> None:
    answer = await post(shared, kind, form_with(FILE))
    assert_problem(answer, 415, code)
    assert any(word in answer.json()["detail"] for word in ("Content-Type", "charset"))
    shared.assert_nothing_left()

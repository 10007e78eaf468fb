"""A small S3 store in memory, without versions: it ignores conditions and checksums, and denies what a test says.

No real server at hand ignores what it does not know, or has all permissions of AWS.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from awscrt.checksums import crc64nvme

from file.logic.values import checksum_text
from testkit.faults.operations import recognise
from tests.unit.accounts.checkup.checkups import denial
from tests.unit.s3.network import listening
from tests.unit.s3.rawserver import ok

Denies = Callable[[str, str], bool]
Refuses = Callable[["CarelessStore", "Request"], bytes | None]
DENIED = denial("Access Denied")


def no_body(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", *headers]).encode() + b"\r\n\r\n"


@dataclass(frozen=True)
class Request:
    """`head` is in lower case."""

    operation: str
    key: str
    upload: str
    head: str
    body: bytes


@dataclass
class CarelessStore:
    """`denies(operation, head)` is called for every request; `refuses` returns an answer, or None.

    `headers`: of every answer to a put. `renames`: parts of the answers' XML, and their replacements.
    """

    denies: Denies = lambda operation, head: False
    refuses: Refuses = lambda store, request: None
    headers: tuple[str, ...] = ()
    renames: dict[str, str] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, list[str]] = field(default_factory=dict)
    uploads: dict[str, str] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)
    begun: int = 0
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["CarelessStore"]:
        async with listening(self._connected) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request per connection, so that none is open when the test ends."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"^content-length: (\d+)", head, re.MULTILINE | re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        method, target, _ = head.split(" ", 2)
        operation = recognise(method, target)
        if self.denies(operation.name, head.lower()):
            answer = no_body("403 Forbidden") if method == "HEAD" else DENIED
        else:
            found = re.search(r"uploadId=([^& ]+)", target)
            upload = found[1] if found else ""
            if operation.name in ("put", "begin"):
                self.metadata[operation.key] = re.findall(r"^(x-amz-meta-[^\r]*)", head, re.MULTILINE | re.IGNORECASE)
            refused = self.refuses(self, Request(operation.name, operation.key, upload, head.lower(), body))
            answer = refused or self._renamed(self._answer(operation.name, operation.key, upload, body))
        writer.write(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))

    def _renamed(self, answer: bytes) -> bytes:
        text = answer.partition(b"\r\n\r\n")[2].decode(errors="surrogateescape")
        for old, new in self.renames.items():
            text = text.replace(old, new)
        return ok(text.encode()) if self.renames and text.startswith("<") else answer

    def _answer(self, operation: str, key: str, upload: str, body: bytes) -> bytes:
        match operation:
            case "put":
                self.objects[key] = body
                return no_body("200 OK", 'ETag: "e"', *self.headers)
            case "begin":
                self.begun += 1
                self.uploads[f"upload-{self.begun}"] = key
                begun = f"<UploadId>upload-{self.begun}</UploadId>"
                return ok(f"<InitiateMultipartUploadResult>{begun}</InitiateMultipartUploadResult>".encode())
            case "part":
                self.parts[upload] = body
                return no_body("200 OK", 'ETag: "e"')
            case "complete":
                self.objects[self.uploads.pop(upload)] = self.parts[upload]
                return ok(b'<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>')
            case "abort":
                return no_body("404 Not Found" if self.uploads.pop(upload, None) is None else "204 No Content")
            case "delete":
                self.objects.pop(key, None)
                return no_body("204 No Content")
        return self._shown(operation, key)

    def _shown(self, operation: str, key: str) -> bytes:
        if operation in ("head", "get"):
            if (found := self.objects.get(key)) is None:
                return no_body("404 Not Found")
            checksum = f"x-amz-checksum-crc64nvme: {checksum_text(crc64nvme(found))}"
            answer = ok(found, 'ETag: "e"', checksum, *self.metadata[key])
            return answer if operation == "get" else answer.removesuffix(found)
        keys = [f"<Key>{escape(key)}</Key>" for key in self.objects]
        uploads = [f"<Key>{escape(key)}</Key><UploadId>{upload}</UploadId>" for upload, key in self.uploads.items()]
        root, element, entries = {
            "list": ("ListBucketResult", "Contents", keys),
            "list_versions": ("ListVersionsResult", "Version", keys),
            "list_uploads": ("ListMultipartUploadsResult", "Upload", uploads),
            "list_parts": ("ListPartsResult", "Part", []),
        }[operation]
        page = "".join(f"<{element}>{entry}</{element}>" for entry in entries)
        return ok(f"<{root}>{page}</{root}>".encode())

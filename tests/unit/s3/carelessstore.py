"""A small S3 store that looks at no condition and no checksum, and denies what a test says.

Everything is kept in memory, a body a key, without versions. For what no real server at hand does: a store that ignores
what it does not know, and permissions that only AWS has.
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
    """`head` is the whole of it in small letters."""

    operation: str
    key: str
    upload: str
    head: str
    body: bytes


@dataclass
class CarelessStore:
    """`denies(operation, head)` is asked of every request; `refuses` answers in the store's place, or gives None.

    `headers` stand in every answer to a put; `renames` are pieces of the answers' XML, and what takes their place.
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
        """One request a connection: so none waits for another when the test ends."""
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
        return self._told(operation, key)

    def _told(self, operation: str, key: str) -> bytes:
        if operation in ("head", "get"):
            if (found := self.objects.get(key)) is None:
                return no_body("404 Not Found")
            checksum = f"x-amz-checksum-crc64nvme: {checksum_text(crc64nvme(found))}"
            answer = ok(found, 'ETag: "e"', checksum, *self.metadata[key])
            return answer if operation == "get" else answer.removesuffix(found)
        keys = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in self.objects)
        versions = keys.replace("Contents>", "Version>")
        uploads = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
            for upload, key in self.uploads.items()
        )
        pages = {
            "list": f"<ListBucketResult>{keys}</ListBucketResult>",
            "list_versions": f"<ListVersionsResult>{versions}</ListVersionsResult>",
            "list_uploads": f"<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>",
            "list_parts": "<ListPartsResult/>",
        }
        return ok(pages[operation].encode())

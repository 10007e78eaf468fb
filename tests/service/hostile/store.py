"""A malicious S3 server: it keeps objects as S3 does, until a test sets another answer.

`says[operation]` is asked first, for every request of that operation (`testkit/operations.py` has their names): it
gives the bytes of an answer, or None for the honest one. Ready-made lies are at the end of this module.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Self
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from testkit.account import StoreAccount
from testkit.faults.operations import recognise
from tests.unit.s3.network import listening

TOKEN = "FwoGZXIvYXdzEBYaDKc0aXJkVG9rZW4hIyK" + "aB3+/x9" * 40  # looks as a session token does
_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `headers` have lower-case names."""

    operation: str
    method: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def signature(self) -> str:
        return self.headers["authorization"].rpartition("Signature=")[2]


Says = Callable[[Asked], bytes | None]


def answer(status: str = "200 OK", *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def refusal(status: str, code: str, *headers: str) -> bytes:
    return answer(status, *headers, body=f"<Error><Code>{code}</Code></Error>".encode())


@dataclass
class HostileStore:
    """`asked` counts the requests of each operation; `objects` has body and metadata of each key, `versions` its id."""

    name: str = "H"
    says: dict[str, Says] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    objects: dict[str, tuple[bytes, Sequence[str]]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, Sequence[str]]] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    port: int = 0

    @contextmanager
    def running(self) -> Iterator[Self]:
        """In a thread and a loop of its own, so that it serves tests of any kind. Its connections are kept alive."""
        started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

        async def serve() -> None:
            ended = asyncio.Event()
            async with listening(self._converse) as self.port:
                started.set_result((asyncio.get_running_loop(), ended))
                await ended.wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()), name="hostile store", daemon=True)
        thread.start()
        loop, ended = started.result(30)
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(ended.set)
            thread.join(30)

    @property
    def account(self) -> StoreAccount:
        return StoreAccount(
            name=self.name,
            access_key_id="AKIAHOSTILEHOSTILEHO",
            secret_access_key=_SECRET,
            region_name="eu-central-1",
            s3_bucket_name="bucket-h",
            endpoint_url=f"http://127.0.0.1:{self.port}",
        )

    def environment(self, **json_keys: object) -> dict[str, str]:
        """As `StoreAccount.environment`, with a session token."""
        [(variable, text)] = self.account.environment().items()
        return {variable: json.dumps(json.loads(text) | {"session_token": TOKEN} | json_keys)}

    def is_honest_again(self) -> None:
        self.says.clear()
        self.asked.clear()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = await _read(reader)
            self.asked[asked.operation] += 1
            says = self.says.get(asked.operation)
            writer.write((says(asked) if says is not None else None) or self._honest(asked))
            await writer.drain()

    def _honest(self, asked: Asked) -> bytes:
        key, upload = asked.key, asked.query.get("uploadId", "")
        metadata = [f"{name}: {value}" for name, value in asked.headers.items() if name.startswith("x-amz-meta-")]
        match asked.operation:
            case "put":
                self.objects[key] = asked.body, metadata
                return answer("200 OK", 'ETag: "e"', "x-amz-version-id: v1", "x-amz-request-id: R1")
            case "begin":
                upload = f"upload-{len(self.uploads) + 1}"
                self.uploads[upload], self.parts[upload] = (key, metadata), {}
                return begun(upload)
            case "part":
                self.parts[upload][int(asked.query["partNumber"])] = asked.body
                return answer("200 OK", 'ETag: "e"')
            case "complete":
                whole = b"".join(body for _, body in sorted(self.parts.pop(upload).items()))
                self.objects[key] = whole, self.uploads.pop(upload)[1]
                body = b"<CompleteMultipartUploadResult><ETag>&quot;e&quot;</ETag></CompleteMultipartUploadResult>"
                return answer("200 OK", "x-amz-version-id: v1", body=body)
            case "abort":
                return answer("404 Not Found" if self.uploads.pop(upload, None) is None else "204 No Content")
            case "delete":
                self.objects.pop(key, None)
                return answer("204 No Content")
            case "head" | "get":
                return self._shown(asked)
            case "list_parts" if upload not in self.uploads:
                return refusal("404 Not Found", "NoSuchUpload")
        return self._listed(asked.operation)

    def _shown(self, asked: Asked) -> bytes:
        if asked.key not in self.objects:
            return answer("404 Not Found")
        body, metadata = self.objects[asked.key]
        modified = "Last-Modified: Mon, 23 Nov 2026 12:00:00 GMT"
        shown = answer("200 OK", 'ETag: "e"', "x-amz-version-id: v1", modified, *metadata, body=body)
        return shown if asked.method == "GET" else shown.removesuffix(body)

    def _listed(self, operation: str) -> bytes:
        match operation:
            case "list":
                return key_page(*sorted(self.objects))
            case "list_versions":
                return version_page("".join(version(key, "v1") for key in sorted(self.objects)))
            case "list_uploads":
                return upload_page("".join(upload(key, id_) for id_, (key, _) in self.uploads.items()))
        return answer(body=b"<ListPartsResult/>")


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    operation, query = recognise(method, target), dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
    return Asked(operation.name, method, operation.key, query, headers, body)


# --- lies


def begun(upload_id: str) -> bytes:
    """Of CreateMultipartUpload."""
    id_ = f"<UploadId>{upload_id}</UploadId>"
    return answer(body=f"<InitiateMultipartUploadResult>{id_}</InitiateMultipartUploadResult>".encode())


def key_page(*keys: str, more: str = "") -> bytes:
    contents = "".join(f"<Contents><Key>{escape(key)}</Key></Contents>" for key in keys)
    return answer(body=f"<ListBucketResult>{more}{contents}</ListBucketResult>".encode())


def upload(key: str, upload_id: str, further: str = "") -> str:
    return f"<Upload><Key>{escape(key)}</Key><UploadId>{upload_id}</UploadId>{further}</Upload>"


def upload_page(entries: str, *headers: str) -> bytes:
    body = f"<ListMultipartUploadsResult>{entries}</ListMultipartUploadsResult>"
    return answer("200 OK", *headers, body=body.encode())


def version(key: str, version_id: str, kind: str = "Version") -> str:
    return f"<{kind}><Key>{escape(key)}</Key><VersionId>{version_id}</VersionId></{kind}>"


def version_page(entries: str, *marker: str) -> bytes:
    """`marker`: the key and the version behind which it goes on; without one it is the last page."""
    more = ""
    if marker:
        key, version_id = marker
        more = "<IsTruncated>true</IsTruncated>"
        more += f"<NextKeyMarker>{escape(key)}</NextKeyMarker><NextVersionIdMarker>{version_id}</NextVersionIdMarker>"
    return answer(body=f"<ListVersionsResult>{more}{entries}</ListVersionsResult>".encode())


def endless_versions(entries: int, *, kind: str = "DeleteMarker") -> Says:
    """Each page has this number of entries of the key that is asked for, and leads to one more."""
    pages = count(1)

    def says(asked: Asked) -> bytes:
        page, key = next(pages), asked.query["prefix"]
        listed = "".join(version(key, f"{page}-{number}-{'v' * 32}", kind) for number in range(entries))
        return version_page(listed, key, f"marker-{page}")

    return says


def large(size: int, tag: bytes = b"<a/>") -> Says:
    """A good answer of this size, filled with this tag."""
    page = answer("200 OK", 'ETag: "e"', body=b"<r>" + tag * (size // len(tag)) + b"</r>")
    return lambda asked: page


def reflecting(header: str, value: Callable[[Asked], str]) -> Says:
    """A good answer to a write, in which one header has what the request had."""

    def says(asked: Asked) -> bytes:
        headers = {"ETag": '"e"', "x-amz-version-id": "v1", "x-amz-request-id": "R1"} | {header: value(asked)}
        return answer("200 OK", *(f"{name}: {text}" for name, text in headers.items()))

    return says

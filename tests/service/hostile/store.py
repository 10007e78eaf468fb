"""A malicious S3 server: it keeps objects as S3 does, until a test tells it what to answer in place of that.

`says[operation]` is asked first, for every request of that operation (`testkit/operations.py` has their names): it
gives the bytes of an answer, or None for the honest one. The server has a thread and a loop of its own, so that it
serves a service in another process and tests of any kind; its connections are kept alive. Ready-made lies stand below.
"""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
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

    def __post_init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._ended: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="hostile store", daemon=True)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(30):
            raise TimeoutError("the hostile store did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._ended is not None
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(30)

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

    # --- in its own thread

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._ended = asyncio.Event()
        async with listening(self._converse) as self.port:
            self._started.set()
            await self._ended.wait()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._one(reader, writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.removesuffix("\r\n\r\n").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        operation = recognise(method, target)
        query = dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))
        asked = Asked(operation.name, method, operation.key, query, headers, body)
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
        return answer(body=self._listed(asked.operation))

    def _shown(self, asked: Asked) -> bytes:
        if asked.key not in self.objects:
            return answer("404 Not Found")
        body, metadata = self.objects[asked.key]
        modified = "Last-Modified: Mon, 23 Nov 2026 12:00:00 GMT"
        shown = answer("200 OK", 'ETag: "e"', "x-amz-version-id: v1", modified, *metadata, body=body)
        return shown if asked.method == "GET" else shown.removesuffix(body)

    def _listed(self, operation: str) -> bytes:
        keys = [f"<Key>{escape(key)}</Key>" for key in sorted(self.objects)]
        versions = "".join(f"<Version>{key}<VersionId>v1</VersionId></Version>" for key in keys)
        uploads = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload}</UploadId></Upload>"
            for upload, (key, _) in self.uploads.items()
        )
        pages = {
            "list": f"<ListBucketResult>{''.join(f'<Contents>{key}</Contents>' for key in keys)}</ListBucketResult>",
            "list_versions": f"<ListVersionsResult>{versions}</ListVersionsResult>",
            "list_uploads": f"<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>",
            "list_parts": "<ListPartsResult/>",
        }
        return pages[operation].encode()


# --- lies


def begun(upload_id: str) -> bytes:
    """Of CreateMultipartUpload."""
    id_ = f"<UploadId>{upload_id}</UploadId>"
    return answer(body=f"<InitiateMultipartUploadResult>{id_}</InitiateMultipartUploadResult>".encode())


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
    """Each page has so many entries of the key that is asked for, and leads to one more."""
    pages = 0

    def says(asked: Asked) -> bytes:
        nonlocal pages
        pages += 1
        key = asked.query["prefix"]
        listed = "".join(version(key, f"{pages}-{number}-{'v' * 32}", kind) for number in range(entries))
        return version_page(listed, key, f"marker-{pages}")

    return says


def large(size: int, tag: bytes = b"<a/>") -> Says:
    """A good answer of so many bytes, of such tags."""
    told = answer("200 OK", 'ETag: "e"', body=b"<r>" + tag * (size // len(tag)) + b"</r>")
    return lambda asked: told


def reflecting(header: str, value: Callable[[Asked], str]) -> Says:
    """A good answer to a write, in which one header has what the request had."""

    def says(asked: Asked) -> bytes:
        told = {"ETag": '"e"', "x-amz-version-id": "v1", "x-amz-request-id": "R1"} | {header: value(asked)}
        return answer("200 OK", *(f"{name}: {text}" for name, text in told.items()))

    return says

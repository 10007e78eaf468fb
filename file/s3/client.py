"""One signed request and its answer, or one of our errors. The only file that knows the HTTP client.

An account has a client of its own, so that connections are never shared between accounts. What the library would do by
itself and S3 must not have done is switched off: redirects (they would carry body and session token elsewhere),
content decoding (it damages stored encodings), referer, cookies, the environment's proxies, retries.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError as TransportError
from pyreqwest.exceptions import RequestTimeoutError
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from file.logic.errors import AccountError, AccountFailingError, AccountStalledError, AccountUnreachableError
from file.logic.values import Account, Body, KiB, MiB
from file.s3.address import address_of
from file.s3.answers import UnreadableAnswerError, parse_error
from file.s3.figures import Figures
from file.s3.refusals import account_error
from file.s3.sigv4 import Signer, encode_query
from file.s3.unconnected import CONNECT_SECONDS, why_unconnected

BRIEF_SECONDS = 10.0
_IDLE_SECONDS = 15  # shorter than S3 keeps an idle connection, so that a write seldom meets a closed one
_MAX_ANSWER_BYTES = 8 * MiB
_PIECE_BYTES = 64 * KiB
_BRIEF_UNDER_WAY = 16
_DAMAGED_ON_THE_WAY = ("BadDigest", "XAmzContentChecksumMismatch")
_SKEW_THAT_MATTERS = timedelta(minutes=5)  # S3 refuses from 15 minutes on
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Network:
    """How to get out: what HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE said."""

    https_proxy: str | None = field(default=None, repr=False)  # it may have a password in it
    no_proxy: str | None = None
    ca_pem: bytes | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `key` None asks the bucket itself; statuses in `tolerate` are answers, not errors."""

    operation: str
    method: str
    key: str | None
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = field(default=b"", repr=False)
    tolerate: Sequence[int] = ()

    @property
    def wants(self) -> str | None:
        """The account's key because of which a question without a body asks for more than the object."""
        if self.method != "HEAD":
            return None
        if any(name == "versionId" for name, _ in self.query):
            return "versions"
        return "checksums" if "x-amz-checksum-mode" in self.headers else None

    def accepts(self, status: int) -> bool:
        return 200 <= status < 300 or status in self.tolerate


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers` has lower-case names; of a repeated header the first value."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """S3's own, for whoever asks its support."""
        return self.headers.get("x-amz-request-id")

    @property
    def date(self) -> datetime | None:
        """The account's clock, in whole seconds."""
        try:
            return parsedate_to_datetime(self.headers.get("date", "")).astimezone(UTC)
        except (ValueError, OverflowError):
            return None


class S3Client:
    """Speaks for one account. Close it when done. A request without a body is answered within `brief_seconds`, or the
    account counts as stalled.
    """

    def __init__(self, account: Account, network: Network, *, brief_seconds: float = BRIEF_SECONDS) -> None:
        self.account = account
        self._brief_seconds = brief_seconds
        self._address = address_of(account)
        self._signer = Signer(account)
        self._figures = Figures(account.name)
        self._client = _build(network)
        self._brief = asyncio.Semaphore(_BRIEF_UNDER_WAY)
        self._skew = timedelta()
        self.shows_metadata = False  # until an object of ours showed its metadata; see `ownership.py`

    async def close(self) -> None:
        await self._client.close()

    async def write(self, call: Call) -> Answer:
        """Send a request that changes something; the caller keeps the deadline.

        Raises `AccountError` for every status but 2xx and those tolerated; `unanswered` where it may have landed.
        """
        # As `_answered`, without what its context manager costs: three times an upload.
        with self._figures.timed(call.operation):
            for last in (False, True):
                skew = self._skew
                with self._figures.counted(call.operation) as request:
                    try:
                        async with self._signed(call).build_streamed() as response:
                            answer = await self._whole(call, response)
                    except TransportError as error:
                        raise self._unreachable(call.operation, error) from error
                    if call.accepts(answer.status):
                        return answer
                    request.result = self._refused(call, answer, skew, last=last)
        raise AssertionError  # the last one raised

    async def brief(self, call: Call) -> Answer:
        """Send a request without a body, within `brief_seconds`, few of them at once; otherwise as `write`."""
        try:
            async with self._brief, asyncio.timeout(self._brief_seconds):
                return await self.write(call)
        except TimeoutError:
            unanswered = call.method == "DELETE"  # a question that is answered late changes nothing
            raise AccountStalledError(self.account.name, call.operation, unanswered=unanswered) from None

    @asynccontextmanager
    async def streamed(self, call: Call, *, stall_seconds: float) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Send a question whose answer is large: its head (within `brief_seconds`), and its body as it comes.

        Only the time that we wait for a piece counts as stalling, not how long the caller takes for it. Leaving before
        the end closes the connection. Errors as in `write`.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._brief_seconds):
                    with self._figures.timed(call.operation):
                        response = await stack.enter_async_context(self._answered(call))
            except TimeoutError:
                raise AccountStalledError(self.account.name, call.operation) from None
            pieces = await stack.enter_async_context(aclosing(self._pieces(call, response, stall_seconds)))
            yield _answer(response), pieces

    def understood(self, operation: str, parse: Callable[[bytes], T], answer: Answer) -> T:
        """What `parse` makes of the answer. Raises `AccountError` if it is not what S3 sends."""
        try:
            return parse(answer.body)
        except UnreadableAnswerError as error:
            raise self.not_understood(operation, answer) from error

    def etag_of(self, operation: str, answer: Answer) -> str:
        """S3 gives one to every object and part; a 200 without it is the page of a proxy, or of some other server."""
        if etag := answer.headers.get("etag"):
            return etag
        raise self.not_understood(operation, answer)

    def not_understood(self, operation: str, answer: Answer) -> AccountError:
        """The error for a 2xx that is not what S3 sends: it does not say what became of the request."""
        error = account_error(self.account, operation, answer.status, None)
        error.unanswered, error.request_id = True, answer.request_id
        return error

    @asynccontextmanager
    async def _answered(self, call: Call) -> AsyncIterator[Response]:
        """A good answer's head, its body still to be read."""
        for last in (False, True):
            skew = self._skew
            with self._figures.counted(call.operation) as request:
                try:
                    async with self._signed(call).build_streamed() as response:
                        if call.accepts(response.status):
                            yield response
                            return
                        refused = await self._whole(call, response)
                except TransportError as error:
                    raise self._unreachable(call.operation, error) from error
                request.result = self._refused(call, refused, skew, last=last)

    def _refused(self, call: Call, answer: Answer, signed_with: timedelta, *, last: bool) -> str:
        """Raises the refusal, or returns its code if the same request may succeed now."""
        told = parse_error(answer.body)
        region = answer.headers.get("x-amz-bucket-region") or told.region
        refusal = account_error(
            self.account, call.operation, answer.status, told.code, region=region, lacks=told.lacks or call.wants
        )
        refusal.request_id = answer.request_id
        damaged = told.code in _DAMAGED_ON_THE_WAY  # may be chance, once
        if last or not (damaged or self._correct_skew(answer, told.code, signed_with)):
            raise refusal
        return refusal.code

    def _signed(self, call: Call) -> RequestBuilder:
        host, path = self._address.host, self._address.path(call.key)
        headers = call.headers
        if self.account.expected_bucket_owner is not None:
            headers = {**headers, "x-amz-expected-bucket-owner": self.account.expected_bucket_owner}
        signed = self._signer.sign(call.method, host, path, call.query, headers, datetime.now(UTC) + self._skew)
        request = self._client.request(call.method, self._address.url(path, encode_query(call.query))).headers(signed)
        return request.body_bytes(call.body) if call.method in ("PUT", "POST") else request

    async def _whole(self, call: Call, response: Response) -> Answer:
        if response.get_header("content-length") == "0":
            return _answer(response)  # nothing to wait for
        received = []
        size = 0
        while (piece := await response.body_reader.read(_PIECE_BYTES)) is not None:
            size += len(piece)
            if size > _MAX_ANSWER_BYTES:
                why = f"answers with more than {_MAX_ANSWER_BYTES} bytes"
                raise AccountFailingError(self.account.name, call.operation, why, unanswered=True)
            received.append(bytes(piece))
        return _answer(response, b"".join(received))

    async def _pieces(self, call: Call, response: Response, stall_seconds: float) -> AsyncGenerator[bytes]:
        name, operation = self.account.name, call.operation
        while True:
            try:
                async with asyncio.timeout(stall_seconds):
                    piece = await response.body_reader.read(_PIECE_BYTES)
            except TimeoutError:
                raise AccountStalledError(name, operation, "stopped in the middle of its answer") from None
            except TransportError as error:
                why = "dropped the connection in the middle of its answer"
                raise AccountUnreachableError(name, operation, why) from error
            if piece is None:
                return
            yield bytes(piece)

    def _unreachable(self, operation: str, error: TransportError) -> AccountUnreachableError:
        """Never connected is known to have changed nothing; lost later is not. Both are one class there."""
        causes = [cause["message"] for cause in error.details.get("causes") or ()]
        detail = why_unconnected(causes, is_late=isinstance(error, RequestTimeoutError))
        if detail is not None:
            return AccountUnreachableError(self.account.name, operation, detail)
        return AccountUnreachableError(
            self.account.name, operation, "dropped the connection before it answered", unanswered=True
        )

    def _correct_skew(self, answer: Answer, code: str | None, signed_with: timedelta) -> bool:
        """Follow the account's clock from now on, if the refusal may come of ours. A HEAD's has no code to say so.

        Many requests may be refused at once: each is compared with the skew that it was signed with.
        """
        if code != "RequestTimeTooSkewed" and (code is not None or answer.status != HTTPStatus.FORBIDDEN):
            return False
        if answer.date is None:
            return False
        skew = answer.date - datetime.now(UTC)
        if abs(skew - signed_with) < _SKEW_THAT_MATTERS:
            return False
        self._skew = skew
        return True


def _answer(response: Response, body: bytes = b"") -> Answer:
    return Answer(response.status, _readable(response.headers), body)


def _readable(headers: Mapping[str, str]) -> dict[str, str]:
    """Without those that are not ASCII: somebody else's object may have such metadata, which is nothing to us."""
    try:
        return {name: headers[name] for name in headers}
    except ValueError:
        readable = {}
        for name in headers:
            with suppress(ValueError):
                readable[name] = headers[name]
        return readable


def _build(network: Network) -> Client:
    builder = (
        ClientBuilder()
        .http1_only()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .no_proxy()
        .connect_timeout(timedelta(seconds=CONNECT_SECONDS))
        .pool_idle_timeout(timedelta(seconds=_IDLE_SECONDS))
        .user_agent("mentum-file-upload")
    )
    if network.https_proxy:
        builder = builder.proxy(ProxyBuilder.https(network.https_proxy).no_proxy(network.no_proxy))
    if network.ca_pem:
        builder = builder.add_root_certificate_pem(network.ca_pem)
    return builder.build()

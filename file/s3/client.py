"""Sends one signed request, and returns its answer or raises one of our errors. Only this file uses the HTTP client.

Each account has its own connections. Small requests with small answers are sent over our own (`connections/`), which
takes less CPU time; parts, listings, and reads over those of the HTTP client, and everything if there is a proxy.
Nothing is automatic on either way: no redirects (they would send body and session token elsewhere), content decoding
(it damages stored encodings), referer, cookies, the environment's proxies, retries.

Answers are limited: 64 KiB, or 8 MiB for a listing, of which an account holds one at a time. Only known headers whose
values look like S3's are kept (`fields.py`).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TypeVar

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError as TransportError
from pyreqwest.exceptions import RequestTimeoutError
from pyreqwest.proxy import ProxyBuilder
from pyreqwest.request import RequestBuilder
from pyreqwest.response import Response

from file.logic.errors import AccountError, AccountFailingError, AccountStalledError, AccountUnreachableError
from file.logic.values import Account, KiB
from file.s3.address import Address, address_of, target_of
from file.s3.calls import Call
from file.s3.connections.dialing import Dialer, tls_context
from file.s3.connections.pool import MOST_KEPT, Pool
from file.s3.connections.requests import USER_AGENT, request_bytes
from file.s3.errors import CLOCK_REFUSED, CONNECT_SECONDS, account_error, answer_lost, not_connected, unreachable
from file.s3.fields import MAX_SKEW, NEEDED, Secrets, moment_of_header, taken
from file.s3.figures import Figures
from file.s3.sigv4 import Signer, encode_query
from file.s3.xml import MAX_ANSWER_BYTES, MAX_LISTING_BYTES, Entry, Page, UnreadableAnswerError, parse_error

BRIEF_SECONDS = 10.0
# Bodies up to this size are sent over our own connections; for larger ones the HTTP client takes less CPU time.
_SMALL_BYTES = {"http": 32 * KiB, "https": 8 * KiB}
_IDLE_SECONDS = 15  # shorter than S3's own limit, so that a write seldom uses a connection that S3 closes
_PIECE_BYTES = 64 * KiB
_BRIEF_UNDER_WAY = 16
_WALKS = 16
_DAMAGED_ON_THE_WAY = ("BadDigest", "XAmzContentChecksumMismatch")
_SKEW_THAT_MATTERS = timedelta(minutes=5)  # S3 refuses a difference of 15 minutes and more
_WRITES = ("PUT", "POST")
# The headers that are examined in the answer to a write; examining all costs more than the rest of the work.
_OF_A_WRITE = (*NEEDED, "x-amz-request-id", "content-length")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Network:
    """The way to S3: the values of HTTPS_PROXY, NO_PROXY, and SSL_CERT_FILE.

    `own_connections`: False if also small requests are sent by the HTTP client, as through a proxy.
    """

    https_proxy: str | None = field(default=None, repr=False)  # it may have a password in it
    no_proxy: str | None = None
    ca_pem: bytes | None = None
    own_connections: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """`headers`: names in lower case, only those that `fields.py` accepts; the first value of a repeated header.

    `unfit`: a required header was not accepted. `shows_metadata`: the answer has metadata, accepted or not.
    `signature`: that of the request.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    unfit: bool = False
    shows_metadata: bool = False
    signature: str = field(default="", repr=False)

    @property
    def request_id(self) -> str | None:
        """The request id of S3, for its support."""
        return self.headers.get("x-amz-request-id")

    @property
    def date(self) -> datetime | None:
        """The account's clock, in whole seconds."""
        return moment_of_header(self.headers.get("date", ""))


class _Believed:
    """What of an account's answers is believed."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._secrets = Secrets(account)

    def understood(self, operation: str, parse: Callable[[bytes], T], answer: Answer) -> T:
        """The answer, parsed by `parse`. Raises `AccountError` if it is not an answer of S3."""
        try:
            return parse(answer.body)
        except UnreadableAnswerError as error:
            why = UnreadableAnswerError(*error.args)  # without its frames, which hold the body
        raise self.not_understood(operation, answer) from why

    def page(self, operation: str, parse: Callable[[bytes], Page[Entry]], answer: Answer) -> Page[Entry]:
        """Like `understood`, for a listing. Raises `AccountError` also if it contains a part of our credentials."""
        page = self.understood(operation, parse, answer)
        if self._secrets.are_in("\n".join(page.texts), answer.signature):
            raise self.not_understood(operation, answer)
        return page

    def etag_of(self, operation: str, answer: Answer) -> str:
        """The ETag. S3 gives one to every object and part; a 200 without it is a page of a proxy or another server."""
        if etag := answer.headers.get("etag"):
            return etag
        raise self.not_understood(operation, answer)

    def told(self, operation: str, answer: Answer, value: str) -> str:
        """A value from the body to keep. Raises `AccountError` if it contains a part of our credentials."""
        if self._secrets.are_in(value, answer.signature):
            raise self.not_understood(operation, answer)
        return value

    def not_understood(self, operation: str, answer: Answer) -> AccountError:
        """The error for a 2xx that is not an answer of S3: the result of the request is unknown."""
        error = account_error(self.account, operation, answer.status, None, request_id=answer.request_id)
        error.unanswered = True
        return error

    def _believed(self, operation: str, answer: Answer) -> Answer:
        """Raises `AccountError` for a 2xx without the values with which S3 confirms what it stored."""
        if answer.unfit and answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise self.not_understood(operation, answer)
        return answer


class S3Client(_Believed):
    """Sends the requests to one account. Close it when done.

    A request without a body is answered within `brief_seconds`, or the account counts as stalled.
    """

    def __init__(self, account: Account, network: Network, *, brief_seconds: float = BRIEF_SECONDS) -> None:
        super().__init__(account)
        self._brief_seconds = brief_seconds
        self._address = address_of(account)
        self._signer = Signer(account)
        self._figures = Figures(account.name)
        self._client = _build(network)
        self._pool = _pool(network, self._address)
        self._small_bytes = _SMALL_BYTES[self._address.scheme]
        self._brief = asyncio.Semaphore(_BRIEF_UNDER_WAY)
        self._large = asyncio.Semaphore(1)  # for listings of more than MAX_ANSWER_BYTES
        self.walks = asyncio.Semaphore(_WALKS)  # through what lies under a key: each holds a page
        self._clock = _Clock()
        self.shows_metadata = False  # true after an object of ours showed its metadata; see `objects.py`

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
        await self._client.close()

    async def write(self, call: Call, large: AsyncExitStack | None = None) -> Answer:
        """Sends a request that changes something; the caller has the deadline.

        Raises `AccountError` for every status except 2xx and the tolerated ones; `unanswered` if it may have taken
        effect. `large`: the answer is a listing, which may be large; the slot is held until the caller is done.
        """
        # Like `_answered`, without the cost of its context manager, three times per upload.
        with self._figures.timed(call.operation):
            for last in (False, True):
                skew = self._clock.skew
                with self._figures.counted(call.operation) as request:
                    if self._pool is not None and large is None and len(call.body) <= self._small_bytes:
                        answer = await self._small(call, self._pool)
                    else:
                        answer = await self._by_library(call, large)
                    if call.accepts(answer.status):
                        return self._believed(call.operation, answer)
                    request.result = self._refused(call, answer, skew, last=last)
        raise AssertionError  # the last one raised

    async def brief(self, call: Call, large: AsyncExitStack | None = None) -> Answer:
        """Sends a request without a body, within `brief_seconds`, few at once; otherwise like `write`."""
        try:
            async with self._brief, asyncio.timeout(self._brief_seconds):
                return await self.write(call, large)
        except TimeoutError:
            unanswered = call.method == "DELETE"  # a late answer to a question changes nothing
            raise AccountStalledError(self.account.name, call.operation, unanswered=unanswered) from None

    @asynccontextmanager
    async def streamed(self, call: Call, *, stall_seconds: float) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
        """Sends a request with a large answer: its head (within `brief_seconds`), and its body as it arrives.

        Only waiting for a piece counts as stalling, not the caller's time. Leaving before the end closes the
        connection. Errors as in `write`.
        """
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self._brief_seconds):
                    with self._figures.timed(call.operation):
                        response, signature = await stack.enter_async_context(self._answered(call))
            except TimeoutError:
                raise AccountStalledError(self.account.name, call.operation) from None
            pieces = _pieces(self.account.name, call.operation, response, stall_seconds)
            await stack.enter_async_context(aclosing(pieces))
            yield self._believed(call.operation, self._head(call, response, signature)), pieces

    @asynccontextmanager
    async def _answered(self, call: Call) -> AsyncIterator[tuple[Response, str]]:
        """The head of a 2xx answer, whose body is still to be read, and the signature of the request."""
        for last in (False, True):
            skew = self._clock.skew
            with self._figures.counted(call.operation) as request:
                try:
                    built, signature = self._built(call)
                    async with built.build_streamed() as response:
                        if call.accepts(response.status):
                            yield response, signature
                            return
                        refused = await self._whole(call, response, signature)
                except TransportError as error:
                    raise self._unreachable(call.operation, error) from error
                request.result = self._refused(call, refused, skew, last=last)

    def _refused(self, call: Call, answer: Answer, signed_with: timedelta, *, last: bool) -> str:
        """Raises the refusal, or returns its code if the same request may succeed now."""
        said = parse_error(answer.body)
        refusal = account_error(
            self.account,
            call.operation,
            answer.status,
            said.code,
            region=answer.headers.get("x-amz-bucket-region") or said.region,
            lacks=said.lacks or call.wants,
            request_id=answer.request_id,
            is_far_off=answer.date is not None and self._clock.is_too_far(answer.date),
        )
        damaged = said.code in _DAMAGED_ON_THE_WAY  # may be a coincidence once
        if last or not (damaged or self._clock.correct(answer, said.code, signed_with)):
            raise refusal
        return refusal.code

    async def _small(self, call: Call, pool: Pool) -> Answer:
        """The whole answer to a small request, over our own connections."""
        path, headers, signature = self._signed(call)
        target, body = target_of(path, encode_query(call.query)), call.body if call.method in _WRITES else None
        request = request_bytes(call.method, target, self._address.host, headers, body)
        try:
            raw = await pool.exchange(request, to_head=call.method == "HEAD", most=MAX_ANSWER_BYTES)
        except OSError as error:
            raise not_connected(self.account.name, call.operation, error) from error
        except EOFError as error:
            raise answer_lost(self.account.name, call.operation) from error
        if raw.is_cut:
            self._refuse_large(call, raw.status, MAX_ANSWER_BYTES)
        return self._answer(call, raw.status, raw.headers, raw.value_of, signature, raw.body)

    async def _by_library(self, call: Call, large: AsyncExitStack | None) -> Answer:
        """The whole answer to a request of any size."""
        try:
            built, signature = self._built(call)
            async with built.build_streamed() as response:
                return await self._whole(call, response, signature, large)
        except TransportError as error:
            raise self._unreachable(call.operation, error) from error

    def _signed(self, call: Call) -> tuple[str, dict[str, str], str]:
        """The path, all headers but Host, and the signature."""
        path, headers = self._address.path(call.key), call.headers
        if self.account.expected_bucket_owner is not None:
            headers = {**headers, "x-amz-expected-bucket-owner": self.account.expected_bucket_owner}
        signed = self._signer.sign(call.method, self._address.host, path, call.query, headers, self._clock.now())
        return path, signed, signed["authorization"].rpartition("=")[2]

    def _built(self, call: Call) -> tuple[RequestBuilder, str]:
        """The request for the HTTP client, and its signature."""
        path, headers, signature = self._signed(call)
        request = self._client.request(call.method, self._address.url(path, encode_query(call.query))).headers(headers)
        return (request.body_bytes(call.body) if call.method in _WRITES else request), signature

    async def _whole(
        self, call: Call, response: Response, signature: str, large: AsyncExitStack | None = None
    ) -> Answer:
        """The whole answer. Raises `AccountFailingError` if a 2xx is too large. Does not wait for a large error."""
        answer = self._head(call, response, signature)
        if not 200 <= response.status < 300:
            large = None
        most = MAX_ANSWER_BYTES if large is None else MAX_LISTING_BYTES
        if answer.headers.get("content-length") == "0":
            return answer  # nothing to wait for
        received: list[bytes] = []
        size = 0
        while (piece := await response.body_reader.read(_PIECE_BYTES)) is not None:
            if size <= MAX_ANSWER_BYTES < size + len(piece) and large is not None:
                await large.enter_async_context(self._large)
            size += len(piece)
            if size > most:
                received.clear()  # an error that is kept must not keep the body
                self._refuse_large(call, response.status, most, is_listing=large is not None)
                return answer
            received.append(bytes(piece))
        return replace(answer, body=b"".join(received)) if received else answer

    def _refuse_large(self, call: Call, status: int, most: int, *, is_listing: bool = False) -> None:
        """Raises `AccountFailingError` for a too large answer, unless its status suffices."""
        if 200 <= status < 300 and (is_listing or call.method in _WRITES):
            why = f"answers with more than {most} bytes"
            raise AccountFailingError(self.account.name, call.operation, why, unanswered=True)

    def _head(self, call: Call, response: Response, signature: str) -> Answer:
        """The answer with only its head."""
        return self._answer(call, response.status, response.headers, response.get_header, signature)

    def _answer(
        self,
        call: Call,
        status: int,
        names: Iterable[str],
        value_of: Callable[[str], str | None],
        signature: str,
        body: bytes = b"",
    ) -> Answer:
        names = _OF_A_WRITE if call.method in _WRITES and status == HTTPStatus.OK else names
        headers, unfit, shows_metadata = taken(names, value_of, self._secrets, signature)
        return Answer(status, headers, body, unfit, shows_metadata, signature)

    def _unreachable(self, operation: str, error: TransportError) -> AccountUnreachableError:
        causes = [cause["message"] for cause in error.details.get("causes") or ()]
        return unreachable(self.account.name, operation, causes, is_late=isinstance(error, RequestTimeoutError))


class _Clock:
    """The clock of one account: `skew` is how far it is ahead of ours."""

    def __init__(self) -> None:
        self.skew = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.skew

    def correct(self, answer: Answer, code: str | None, signed_with: timedelta) -> bool:
        """Follows the account's clock from now on, if our clock may cause the refusal. A HEAD's answer has no code.

        Many requests may be refused at once: each is compared with the skew with which it was signed.
        """
        if code != CLOCK_REFUSED and (code is not None or answer.status != HTTPStatus.FORBIDDEN):
            return False
        if answer.date is None or self.is_too_far(answer.date):
            return False
        skew = answer.date - datetime.now(UTC)
        if abs(skew - signed_with) < _SKEW_THAT_MATTERS:
            return False
        self.skew = skew
        return True

    @staticmethod
    def is_too_far(date: datetime) -> bool:
        """Whether the clock is too far from ours to be followed."""
        return abs(date - datetime.now(UTC)) > MAX_SKEW


async def _pieces(account: str, operation: str, response: Response, stall_seconds: float) -> AsyncGenerator[bytes]:
    while True:
        try:
            async with asyncio.timeout(stall_seconds):
                piece = await response.body_reader.read(_PIECE_BYTES)
        except TimeoutError:
            raise AccountStalledError(account, operation, "stopped in the middle of its answer") from None
        except TransportError as error:
            why = "dropped the connection in the middle of its answer"
            raise AccountUnreachableError(account, operation, why) from error
        if piece is None:
            return
        yield bytes(piece)


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
        .pool_max_idle_per_host(MOST_KEPT)
        .user_agent(USER_AGENT)
    )
    if network.https_proxy:
        builder = builder.proxy(ProxyBuilder.https(network.https_proxy).no_proxy(network.no_proxy))
    if network.ca_pem:
        builder = builder.add_root_certificate_pem(network.ca_pem)
    return builder.build()


def _pool(network: Network, address: Address) -> Pool | None:
    """None where the HTTP client sends everything: through a proxy, or with authorities that only it finds."""
    if network.https_proxy or not network.own_connections:
        return None
    tls = tls_context(network.ca_pem) if address.scheme == "https" else None
    if tls is None and address.scheme == "https":
        return None
    dialer = Dialer(address.scheme, address.host, tls, seconds=CONNECT_SECONDS)
    return Pool(dialer, idle_seconds=_IDLE_SECONDS)

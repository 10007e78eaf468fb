"""What h11 and llhttp read in the bytes of a connection: the judges of our own reader.

Both are read strictly, as they are by default. A judge says for each request what it read, and why it stopped.
Neither answers anything, so a request that asks for another protocol is followed by the next one, as in our server.
"""

from dataclasses import dataclass, field

import h11
import httptools

Fields = tuple[tuple[bytes, bytes], ...]
_LARGEST_HEAD = 1 << 24  # ours has the limit
_SPACE = b" \t"
_END_OF_LINE = b"\r\n"


@dataclass(frozen=True, slots=True)
class Message:
    """A request whose head was accepted. `body`: the bytes that were read; `is_whole`: the end was read, too.
    `fields` have names in lower case. `keeps`: whether another request may follow on the connection.
    """

    method: bytes
    target: bytes
    version: bytes
    fields: Fields
    body: bytes
    is_whole: bool
    keeps: bool

    def values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.fields if each == name]


@dataclass(frozen=True, slots=True)
class Reading:
    """All requests in the bytes. `refusal`: why the reader stopped; None if it waits for more bytes, or if the last
    request closes the connection.
    """

    messages: tuple[Message, ...]
    refusal: str | None = None

    @property
    def waits(self) -> bool:
        has_ended = bool(self.messages) and self.messages[-1].is_whole and not self.messages[-1].keeps
        return self.refusal is None and not has_ended


def read_by_h11(wire: bytes) -> Reading:
    """A connection for each request, because h11 would want an answer between two.

    An empty line before a request is skipped (RFC 9112, 2.2), which h11 refuses.
    """
    messages: list[Message] = []
    while wire := wire.removeprefix(_END_OF_LINE):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)
        connection.receive_data(wire)
        try:
            request = connection.next_event()
        except h11.RemoteProtocolError as error:
            return Reading(tuple(messages), f"h11: {error}")
        if not isinstance(request, h11.Request):
            break
        body, is_whole, refusal = _body_by_h11(connection)
        # h11 keeps no connection of HTTP/1.0; to judge what follows there, it is asked to go on.
        keeps = connection.their_state is not h11.MUST_CLOSE or request.http_version == b"1.0"
        fields = tuple((bytes(name), bytes(value)) for name, value in request.headers)
        messages.append(Message(request.method, request.target, request.http_version, fields, body, is_whole, keeps))
        if refusal is not None or not is_whole or not keeps:
            return Reading(tuple(messages), refusal)
        wire, _ = connection.trailing_data
    return Reading(tuple(messages))


def _body_by_h11(connection: h11.Connection) -> tuple[bytes, bool, str | None]:
    body = bytearray()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return bytes(body), False, f"h11: {error}"
        if isinstance(event, h11.Data):
            body += event.data
        else:
            return bytes(body), isinstance(event, h11.EndOfMessage), None


def read_by_llhttp(wire: bytes) -> Reading:
    listener = _Listener()
    while wire:
        parser = listener.parser = httptools.HttpRequestParser(listener)
        try:
            parser.feed_data(wire)
        except httptools.HttpParserUpgrade as upgrade:
            [offset] = upgrade.args
            if not listener.keeps:
                break
            wire = wire[offset:]
            continue
        except httptools.HttpParserError as error:
            return Reading(listener.read(), None if listener.has_closed else f"llhttp: {error}")
        break
    return Reading(listener.read())


@dataclass(slots=True)
class _Listener:
    """The callbacks of httptools."""

    parser: httptools.HttpRequestParser | None = None
    keeps: bool = True
    has_closed: bool = False  # the last request was whole, and closes the connection
    _messages: list[Message] = field(default_factory=list)
    _target: bytes = b""
    _fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    _head: tuple[bytes, bytes] | None = None
    _body: bytearray = field(default_factory=bytearray)

    def read(self) -> tuple[Message, ...]:
        if self._head is None:
            return tuple(self._messages)
        return (*self._messages, self._message(is_whole=False))

    def on_message_begin(self) -> None:
        self._target, self._fields, self._head, self._body = b"", [], None, bytearray()

    def on_url(self, piece: bytes) -> None:
        self._target += piece

    def on_header(self, name: bytes, value: bytes | None) -> None:
        if self._head is None:  # otherwise it is a trailer
            self._fields.append((name.lower(), (value or b"").strip(_SPACE)))

    def on_headers_complete(self) -> None:
        assert self.parser is not None
        self._head = self.parser.get_method(), self.parser.get_http_version().encode()
        self.keeps = self.parser.should_keep_alive()

    def on_body(self, piece: bytes) -> None:
        self._body += piece

    def on_message_complete(self) -> None:
        self._messages.append(self._message(is_whole=True))
        self._head = None
        self.has_closed = not self.keeps

    def _message(self, *, is_whole: bool) -> Message:
        assert self._head is not None
        method, version = self._head
        return Message(method, self._target, version, tuple(self._fields), bytes(self._body), is_whole, self.keeps)

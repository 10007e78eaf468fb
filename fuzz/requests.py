"""A request as it is written: its line, its fields, and the framed body."""

from collections.abc import Iterable
from dataclasses import dataclass, field

Field = tuple[bytes, bytes]


@dataclass(slots=True)
class Request:
    """`content`: the body itself; `body`: the bytes that are written. Nothing is checked; all of it may be invalid."""

    method: bytes
    target: bytes
    fields: list[Field]
    content: bytes = b""
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    line_end: bytes = b"\r\n"
    separator: bytes = b": "
    names: list[str] = field(default_factory=list)  # the mutations that were applied

    def wire(self) -> bytes:
        line = b" ".join((self.method, self.target, self.version))
        lines = [line, *(name + self.separator + value for name, value in self.fields)]
        return self.line_end.join(lines) + self.line_end * 2 + self.body

    def value(self, name: bytes) -> bytes | None:
        """The first field of this name."""
        return next((value for each, value in self.fields if each.lower() == name), None)

    def set(self, name: bytes, value: bytes) -> None:
        """Replaces all fields of this name."""
        self.remove(name)
        self.fields.append((name, value))

    def remove(self, name: bytes) -> None:
        self.fields = [each for each in self.fields if each[0].lower() != name]

    def send_by_length(self) -> None:
        self.remove(b"transfer-encoding")
        self.set(b"content-length", b"%d" % len(self.content))
        self.body = self.content

    def send_in_chunks(self, sizes: Iterable[int], trailer: bytes = b"") -> None:
        self.remove(b"content-length")
        self.set(b"transfer-encoding", b"chunked")
        self.body = in_chunks(self.content, sizes) + trailer + b"\r\n"


def in_chunks(content: bytes, sizes: Iterable[int]) -> bytes:
    """The chunks up to the last one, of size 0, without the trailer and the last line."""
    framed, place = bytearray(), 0
    for size in sizes:
        piece = content[place : place + size]
        if not piece:
            break
        framed += b"%x\r\n%b\r\n" % (len(piece), piece)
        place += len(piece)
    if rest := content[place:]:
        framed += b"%x\r\n%b\r\n" % (len(rest), rest)
    return bytes(framed) + b"0\r\n"

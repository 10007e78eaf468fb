"""Faults between the service and an account, for the fault proxy.

A fault says which requests it meets (`operation`, `part_number`, `key`), how often (`times`, None for always), and how
many requests it lets pass before (`after`). A fault with `from_then_on` also meets every request after its first one.
The names follow the documentation: `refuses_begin` is `Fault.refuses("SlowDown", operation="begin")`,
`stalls_at_part` is `Fault.stalls(operation="part")`, `loses_complete_reply` is
`Fault.loses_reply(operation="complete")`, `drops_connection` is `Fault.drops_connection()`.
An account that refuses connections meets no single request: that is `FaultProxy.refuse_connections()`.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self, TypedDict, Unpack

from testkit.account import StoreAccount
from testkit.faults.operations import OPERATIONS, Operation

# The status of each code of S3: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
STATUSES = {
    "AccessDenied": 403,
    "AuthorizationHeaderMalformed": 400,
    "BadDigest": 400,
    "ConditionalRequestConflict": 409,
    "EntityTooLarge": 400,
    "ExpiredToken": 400,
    "InternalError": 500,
    "InvalidAccessKeyId": 403,
    "InvalidPart": 400,
    "InvalidRequest": 400,
    "KeyTooLongError": 400,
    "MetadataTooLarge": 400,
    "NoSuchBucket": 404,
    "NoSuchKey": 404,
    "NoSuchUpload": 404,
    "PermanentRedirect": 301,
    "PreconditionFailed": 412,
    "RequestTimeTooSkewed": 403,
    "RequestTimeout": 400,
    "ServiceUnavailable": 503,
    "SignatureDoesNotMatch": 403,
    "SlowDown": 503,
    "TemporaryRedirect": 307,
}

HELD_SECONDS = 60.0  # the longest hold, if the event never comes


class Which(TypedDict, total=False):
    """The requests that a fault meets."""

    operation: str | None
    part_number: int | None
    key: str | None
    times: int | None
    after: int
    from_then_on: bool


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault. The functions below create it; the proxy uses the fields."""

    name: str
    operation: str | None = None
    part_number: int | None = None
    key: str | None = None
    times: int | None = 1
    after: int = 0
    from_then_on: bool = False

    code: str | None = None
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    early: bool = False
    carried_out: bool = False
    held_until: Callable[[], object] | None = None
    stalls_after: int | None = None
    drops_after: int | None = None
    reply_lost: bool = False
    metadata_lost: bool = False
    reply_drops_after: int | None = None
    damaged_byte: int | None = None
    damaged_reply_byte: int | None = None
    bytes_per_second: int | None = None
    delay_seconds: float = 0.0
    clock_ahead_seconds: float | None = None
    clock_tolerance_seconds: float = 0.0
    signed_again_for: StoreAccount | None = None
    action: Callable[[], object] | None = None
    action_comes_after: bool = False

    _there: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.operation is not None and self.operation not in OPERATIONS:
            raise ValueError(f"There is no operation {self.operation!r}; there are {', '.join(OPERATIONS)}.")

    @classmethod
    def refuses(
        cls,
        code: str = "InternalError",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        early: bool = False,
        carried_out: bool = False,
        held_until: Callable[[], object] | None = None,
        **which: Unpack[Which],
    ) -> Self:
        """Answers with an S3 error.

        `status`: by default that of the code; 200 gives the error body that a complete may have. `early`: answers
        without reading the body and closes, as S3 does. `carried_out`: executes the request all the same.
        `held_until`: called in a separate thread, returns when the answer may be sent.
        """
        status = STATUSES[code] if status is None else status
        return cls(
            name="refuses",
            code=code,
            status=status,
            headers=headers or {},
            early=early,
            carried_out=carried_out,
            held_until=held_until,
            **which,
        )

    @classmethod
    def stalls(cls, *, after_bytes: int | None = None, **which: Unpack[Which]) -> Self:
        """Never answers. Reads the whole body, or stops reading after `after_bytes`."""
        return cls(name="stalls", stalls_after=-1 if after_bytes is None else after_bytes, **which)

    @classmethod
    def drops_connection(cls, *, after_bytes: int = 0, **which: Unpack[Which]) -> Self:
        """Resets the connection after this number of bytes of the body."""
        return cls(name="drops_connection", drops_after=after_bytes, **which)

    @classmethod
    def loses_reply(cls, **which: Unpack[Which]) -> Self:
        """Lets the server execute the request, then closes the connection without the answer."""
        return cls(name="loses_reply", reply_lost=True, **which)

    @classmethod
    def drops_reply(cls, *, after_bytes: int = 0, **which: Unpack[Which]) -> Self:
        """Lets the server execute the request, and closes the connection in the middle of the answer's body."""
        return cls(name="drops_reply", reply_drops_after=after_bytes, **which)

    @classmethod
    def delays_reply(cls, seconds: float, **which: Unpack[Which]) -> Self:
        """Lets the server execute the request, and delays the answer."""
        return cls(name="delays_reply", delay_seconds=seconds, **which)

    @classmethod
    def holds_reply(cls, until: threading.Event, **which: Unpack[Which]) -> Self:
        """The same until the event: for a test that does something meanwhile, independent of the machine's speed."""
        return cls(name="holds_reply", held_until=lambda: until.wait(HELD_SECONDS), **which)

    @classmethod
    def calls(cls, action: Callable[[], object], *, comes_after: bool = False, **which: Unpack[Which]) -> Self:
        """Calls `action` in the proxy's thread when the request has arrived, and passes nothing to the server.

        `comes_after`: instead after the server has executed the request and answered; the answer is not passed back.
        """
        return cls(name="calls", action=action, action_comes_after=comes_after, **which)

    @classmethod
    def slows(cls, bytes_per_second: int, **which: Unpack[Which]) -> Self:
        """Limits the speed of bodies in both directions."""
        return cls(name="slows", bytes_per_second=bytes_per_second, **which)

    @classmethod
    def damages_body(cls, *, at_byte: int = 0, **which: Unpack[Which]) -> Self:
        """Changes one byte of the body on its way to the server."""
        return cls(name="damages_body", damaged_byte=at_byte, **which)

    @classmethod
    def damages_reply(cls, *, at_byte: int = 0, **which: Unpack[Which]) -> Self:
        """Changes one byte of the answer's body on its way to the client."""
        return cls(name="damages_reply", damaged_reply_byte=at_byte, **which)

    @classmethod
    def loses_metadata(cls, **which: Unpack[Which]) -> Self:
        """Removes the object's metadata from the server's answers, as a gateway may do."""
        return cls(name="loses_metadata", metadata_lost=True, **which)

    @classmethod
    def has_wrong_clock(
        cls,
        *,
        ahead_seconds: float = 600.0,
        tolerance_seconds: float = 60.0,
        signed_again_for: StoreAccount | None = None,
        **which: Unpack[Which],
    ) -> Self:
        """The account's clock differs: `Date` shows it, and requests with another time are refused as skewed.

        The real server behind the proxy allows fifteen minutes: a corrected request passes it if it differs by less, or
        is signed again with the account's own keys.
        """
        return cls(
            name="has_wrong_clock",
            clock_ahead_seconds=ahead_seconds,
            clock_tolerance_seconds=tolerance_seconds,
            signed_again_for=signed_again_for,
            **which,
        )

    def meets(self, operation: Operation) -> bool:
        """Whether this fault is for the request, independent of how often it has happened.

        A fault with `from_then_on` begins with the first request for which this is true.
        """
        if self._there.is_set():
            return True
        meant = (
            self.operation in (None, operation.name)
            and self.part_number in (None, operation.part_number)
            and self.key in (None, operation.key)
        )
        if meant and self.from_then_on:
            self._there.set()
        return meant

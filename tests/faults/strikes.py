"""The faults of the matrix, made by the fault proxy in front of the account."""

import threading
from collections.abc import Callable, Mapping

from testkit.faults.faultproxy import FaultProxy
from testkit.faults.faults import Fault, Which
from tests.faults.matrix import PARTS, Case, Kind, Place
from tests.faults.oracle import LAST_PART_BYTES, ONE_PART_BYTES, PART_BYTES, SLOW_BYTES_PER_SECOND, others_that_fail

CLOCK_SECONDS = 20 * 60.0
S3_ALLOWS_SECONDS = 15 * 60.0
LONG_SECONDS = 60.0  # longer than any wait

_REQUESTS: Mapping[Place, Which] = {
    Place.PUT: {"operation": "put"},
    Place.BEGIN: {"operation": "begin"},
    Place.FIRST_PART: {"operation": "part", "part_number": 1},
    Place.LAST_PART: {"operation": "part", "part_number": PARTS[-1]},
    Place.COMPLETE: {"operation": "complete"},
    Place.ANSWER: {"operation": "complete"},
    Place.DELETE: {"operation": "delete"},
    Place.ABORT: {"operation": "abort"},
}
# In the middle of the body; 0 where there is none.
_MIDDLE = {
    Place.PUT: ONE_PART_BYTES // 2,
    Place.FIRST_PART: PART_BYTES // 2,
    Place.LAST_PART: LAST_PART_BYTES // 2,
    Place.COMPLETE: 100,
}


class Strike:
    """From `begin` to `end`. `proxies` has the proxies of the accounts that fail, by name."""

    def __init__(self, case: Case, proxies: Mapping[str, FaultProxy]) -> None:
        self.case = case
        self._proxy = proxies[case.account]
        self._proxies = proxies
        self._refusing: list[threading.Thread] = []
        self.happened = False  # known once it has ended

    def begin(self) -> None:
        case, proxy = self.case, self._proxy
        last = "put" if case.parts == 1 else "complete"

        def has_it() -> None:
            """Wait for the file: otherwise there would be nothing to delete."""
            proxy.wait_for(last, ended=True, timeout_seconds=LONG_SECONDS / 2)

        for name in others_that_fail(case):
            self._proxies[name].add(Fault.refuses("AccessDenied", held_until=has_it, operation=last, times=None))
        if case.place is Place.ABORT:
            proxy.add(Fault.refuses("AccessDenied", operation="part", part_number=case.parts, times=None))
        if self._is_away_from_the_beginning:
            proxy.refuse_connections()
        else:
            proxy.add(self._fault())

    def end(self) -> None:
        """End all faults."""
        self.happened = self._has_happened()
        for thread in self._refusing:
            thread.join(10)
        self._proxy.accept_connections()
        for proxy in self._proxies.values():
            proxy.clear()

    def _has_happened(self) -> bool:
        if self._is_away_from_the_beginning:
            return not self._proxy.requests
        operation = _REQUESTS[self.case.place].get("operation")
        return any(seen.fault for seen in self._proxy.seen(operation))

    @property
    def _is_away_from_the_beginning(self) -> bool:
        return self.case.kind is Kind.REFUSES and self.case.place in (Place.PUT, Place.BEGIN)

    def _refuse(self) -> None:
        """In another thread: the proxy's own thread, which calls this, has to go on."""
        thread = threading.Thread(target=self._proxy.refuse_connections, name="refusing")
        self._refusing.append(thread)
        thread.start()

    def _deny(self) -> None:
        self._proxy.add(Fault.refuses("AccessDenied", times=None))

    def _fault(self) -> Fault:
        case = self.case
        where = _REQUESTS[case.place]
        if case.place is Place.ANSWER:
            return _in_the_answer(case.kind, where, refuse=self._refuse, deny=self._deny)
        always: Which = {**where, "times": None}
        from_then_on: Which = {**always, "from_then_on": True}
        match case.kind:
            case Kind.REFUSES:
                return Fault.calls(self._refuse, **where)
            case Kind.RESETS:
                return Fault.drops_connection(after_bytes=_MIDDLE.get(case.place, 0), **always)
            case Kind.HANGS:
                return Fault.stalls(**always)
            case Kind.SLOW:
                return Fault.slows(SLOW_BYTES_PER_SECOND, **always)
            case Kind.LOSES_ANSWER:
                return Fault.loses_reply(**where)
            case Kind.DAMAGES:
                return Fault.damages_body(at_byte=0 if case.place is Place.COMPLETE else _MIDDLE[case.place], **where)
            case Kind.DENIED:
                return Fault.refuses("AccessDenied", **from_then_on)
            case Kind.CLOCK:
                return Fault.has_wrong_clock(
                    ahead_seconds=CLOCK_SECONDS,
                    tolerance_seconds=S3_ALLOWS_SECONDS,
                    signed_again_for=self._proxy.account,
                    **from_then_on,
                )
            case _:
                return _refusal(case.kind, where)


def _refusal(kind: Kind, where: Which, *, carried_out: bool = False) -> Fault:
    code, status, times = _REFUSALS[kind]
    which: Which = {**where, "times": times}
    return Fault.refuses(code, status=status, carried_out=carried_out, **which)


# S3's code, the status if it is not the code's own, how often.
_REFUSALS: Mapping[Kind, tuple[str, int | None, int | None]] = {
    Kind.FAILS_ONCE: ("InternalError", None, 1),
    Kind.FAILS: ("InternalError", None, None),
    Kind.THROTTLES_ONCE: ("SlowDown", None, 1),
    Kind.THROTTLES: ("SlowDown", None, None),
    Kind.ERROR_IN_200: ("InternalError", 200, 1),
    Kind.CONFLICT: ("ConditionalRequestConflict", None, 1),
    Kind.PRECONDITION: ("PreconditionFailed", None, None),
    Kind.REDIRECTS: ("TemporaryRedirect", None, 1),
    Kind.NO_SUCH_UPLOAD: ("NoSuchUpload", None, None),
}


def _in_the_answer(kind: Kind, where: Which, *, refuse: Callable[[], object], deny: Callable[[], object]) -> Fault:
    """The account carries the request out, and its answer fails."""
    always: Which = {**where, "times": None}
    match kind:
        case Kind.REFUSES:
            return Fault.calls(refuse, comes_after=True, **where)
        case Kind.DENIED:
            return Fault.calls(deny, comes_after=True, **where)
        case Kind.RESETS:
            return Fault.drops_reply(after_bytes=50, **where)
        case Kind.HANGS:
            return Fault.delays_reply(LONG_SECONDS, **always)
        case Kind.LOSES_ANSWER:
            return Fault.loses_reply(**where)
        case Kind.DAMAGES:
            return Fault.damages_reply(at_byte=0, **where)
        case _:
            return _refusal(kind, where, carried_out=True)

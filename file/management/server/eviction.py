"""Which idle connections are closed when connections become scarce. Pure functions.

The server accepts a limited number of connections; further clients wait in the kernel's queue. Idle connections count,
so they could keep out the health check. Above three quarters of the limit, idle connections are closed until half of
the limit is left and no address has more than a quarter of it: first those of the address with the most connections,
and of these the one that has been idle the longest. A connection with a request is never closed here. One whose client
sent something in the last second may have a request on its way: it is closed only when nearly all connections are in
use. Below three quarters no address is limited, because a proxy has one address for all its clients.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Peer = tuple[str | bytes, str]

# A client that sent something within this time may have a request on the way: its connection is closed last.
_RECENT_SECONDS = 1.0
_MAPPED = bytes(10) + b"\xff\xff"  # the start of an IPv4 address in IPv6 form
_NETWORK_BYTES = 8  # an IPv6 client has at least a /64


@dataclass(frozen=True, slots=True)
class Idle:
    """A connection without a request. `since` is when that was first seen, on the clock of `time.monotonic`."""

    file: int
    peer: Peer
    since: float
    silent_seconds: float  # since the last byte, or since it was opened

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The connection with the lowest rank is closed first."""
        return (self.silent_seconds < _RECENT_SECONDS, self.since, -self.silent_seconds)


def is_scarce(connections: int, most: int) -> bool:
    return connections >= most * 3 // 4


def address_of(peer: Peer) -> str | bytes:
    """What counts as one address. For IPv6 it is the network, because one client has all of its addresses."""
    host = peer[0]
    if isinstance(host, str):
        return host
    return host[-4:] if host.startswith(_MAPPED) else host[:_NETWORK_BYTES]


def to_evict(idle: Sequence[Idle], connections: Counter[str | bytes], most: int) -> Iterator[Idle]:
    """The connections to close. `connections`: their number by address, with those that have a request."""
    total = connections.total()
    if not is_scarce(total, most):
        return
    by_address: dict[str | bytes, list[Idle]] = defaultdict(list)
    for each in idle:
        by_address[address_of(each.peer)].append(each)
    turns: list[tuple[int, Idle]] = []  # with the number of connections that its address has before
    for address, its in by_address.items():
        its.sort(key=lambda each: each.rank)
        turns += [(connections[address] - before, each) for before, each in enumerate(its)]
    turns.sort(key=lambda turn: (-turn[0], turn[1].rank))
    left, is_full = total, total >= most - most // 16
    for level, each in turns:
        if left <= most // 2 and level <= most // 4:
            return
        if is_full or each.silent_seconds >= _RECENT_SECONDS:  # otherwise a request may be on the way
            left -= 1
            yield each

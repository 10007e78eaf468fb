"""Which idle connections end when connections become scarce. Pure: what was seen in, what is to end out.

The server accepts a number of connections and leaves the rest in the kernel's queue, idle ones included, so that idle
ones keep out the health check. Above three quarters of that number the idle ones of the address with the most
connections end first, the one that has been idle for the longest before the others, until half of the number is left
and no address has more than a quarter of it. A connection on which a request is under way never ends here, and one
whose client sent something in the last second, so that a request may be on its way, only when nearly all are taken.
Below three quarters no address is limited: a proxy has one address for all its clients.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Peer = tuple[str | bytes, str]

# Who sent something in this time may have a request on the way to us: it ends last, and only where it must.
_RECENT_SECONDS = 1.0
_MAPPED = bytes(10) + b"\xff\xff"  # an address of IPv4, written as one of IPv6
_NETWORK_BYTES = 8  # one client of IPv6 has a /64 at least


@dataclass(frozen=True, slots=True)
class Idle:
    """A connection without a request. `since` is when that was first seen, on the clock of `time.monotonic`."""

    file: int
    peer: Peer
    since: float
    silent_seconds: float  # since the last byte, or since it was opened

    @property
    def rank(self) -> tuple[bool, float, float]:
        """What has the lowest ends first."""
        return (self.silent_seconds < _RECENT_SECONDS, self.since, -self.silent_seconds)


def is_scarce(connections: int, most: int) -> bool:
    return connections >= most * 3 // 4


def address_of(peer: Peer) -> str | bytes:
    """What counts as one address: of IPv6 the network, for who has one has all of its addresses."""
    host = peer[0]
    if isinstance(host, str):
        return host
    return host[-4:] if host.startswith(_MAPPED) else host[:_NETWORK_BYTES]


def to_end(idle: Sequence[Idle], connections: Counter[str | bytes], most: int) -> Iterator[Idle]:
    """`connections`: by address, those with a request included."""
    total = connections.total()
    if not is_scarce(total, most):
        return
    by_address: dict[str | bytes, list[Idle]] = defaultdict(list)
    for each in idle:
        by_address[address_of(each.peer)].append(each)
    turns: list[tuple[int, Idle]] = []  # and how many connections its address has before it ends
    for address, its in by_address.items():
        its.sort(key=lambda each: each.rank)
        turns += [(connections[address] - before, each) for before, each in enumerate(its)]
    turns.sort(key=lambda turn: (-turn[0], turn[1].rank))
    left, is_full = total, total >= most - most // 16
    for level, each in turns:
        if left <= most // 2 and level <= most // 4:
            return
        if is_full or each.silent_seconds >= _RECENT_SECONDS:  # else there is room, and its request may be on the way
            left -= 1
            yield each

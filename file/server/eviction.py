"""Which idle connections are closed when connections become scarce. Pure functions.

The server accepts a limited number of connections; further clients wait in the kernel's queue. Idle connections count,
so they could keep out the health check. Above three quarters of the limit, idle connections are closed until half of
the limit is left and no address has more than a quarter of it: first those of the address with the most connections,
and of these the one that has been idle the longest. A connection with a request is never closed here. One that was used
in the last second may have a request on its way: it is closed only when nearly all connections are in use. Below three
quarters no address is limited, because a proxy has one address for all its clients.
"""

import socket
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Address = str | bytes

# A connection that was used within this time may have a request on the way: it is closed last.
_RECENT_SECONDS = 1.0
_MAPPED = bytes(10) + b"\xff\xff"  # the start of an IPv4 address in IPv6 form
_NETWORK_BYTES = 8  # an IPv6 client has at least a /64


@dataclass(frozen=True, slots=True)
class Idle(Generic[T]):
    """A connection without a request. `since` is when that began, on one clock for all."""

    connection: T
    address: Address
    since: float
    silent_seconds: float  # since its last byte, its last request, or since it was opened

    @property
    def rank(self) -> tuple[bool, float, float]:
        """The connection with the lowest rank is closed first."""
        return (self.silent_seconds < _RECENT_SECONDS, self.since, -self.silent_seconds)


def is_scarce(connections: int, most: int) -> bool:
    return connections >= most * 3 // 4


def address_of(host: str) -> Address:
    """What counts as one address. For IPv6 it is the network, because one client has all of its addresses."""
    if ":" not in host:
        return host
    packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return socket.inet_ntoa(packed[-4:]) if packed.startswith(_MAPPED) else packed[:_NETWORK_BYTES]


def to_evict(idle: Sequence[Idle[T]], connections: Counter[Address], most: int) -> Iterator[Idle[T]]:
    """The connections to close. `connections`: their number by address, with those that have a request."""
    total = connections.total()
    if not is_scarce(total, most):
        return
    by_address: dict[Address, list[Idle[T]]] = defaultdict(list)
    for each in idle:
        by_address[each.address].append(each)
    turns: list[tuple[int, Idle[T]]] = []  # with the number of connections that its address has before
    for address, its in by_address.items():
        its.sort(key=lambda each: each.rank)
        turns += [(connections[address] - before, each) for before, each in enumerate(its)]
    turns.sort(key=lambda turn: (-turn[0], turn[1].rank))
    left, is_full = total, total >= most - most // 16
    for level, each in turns:
        if left <= most // 2 and level <= most // 4:
            return
        if not is_full and each.silent_seconds < _RECENT_SECONDS:  # a request may be on the way
            return  # and those that follow are of addresses with fewer connections
        left -= 1
        yield each

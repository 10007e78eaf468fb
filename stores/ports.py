"""Blocks of free TCP ports on loopback, safe for many processes that look for them at once.

A store listens on the ports P to P+14 and P+10004. Blocks are multiples of sixteen: the sixteenth port is never
listened on, binding it is the claim on the block, and the kernel gives it back when the claimer ends, however it ends.
All blocks lie below the ephemeral ports, so no outgoing connection of anybody can sit on one by accident.
"""

import random
import socket

from stores.errors import StoreError

HOST = "127.0.0.1"
BLOCK = 16
FIRST = 10_240
LAST = 20_224  # LAST + 14 < FIRST + ADMIN_OFFSET: no block reaches into another block's far port
ADMIN_OFFSET = 10_004  # weed opens a second admin port there and has no option to choose another


def ports_of(first: int) -> list[int]:
    """The ports that a store at `first` listens on."""
    return [*range(first, first + 15), first + ADMIN_OFFSET]


def port_in_use(first: int) -> int | None:
    """The first port of the block that somebody listens on, or None."""
    for port in ports_of(first):
        with socket.socket() as probe:
            # As the server does it: a port that only has connections in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                return port
    return None


def free_port_block() -> tuple[int, socket.socket]:
    """Claim a free block. It stays ours until the socket that comes with it is closed."""
    blocks = list(range(FIRST, LAST + 1, BLOCK))
    random.SystemRandom().shuffle(blocks)  # not the seeded generator: parallel test workers share its seed
    for first in blocks:
        claim = socket.socket()
        try:
            claim.bind((HOST, first + BLOCK - 1))
        except OSError:
            claim.close()
            continue
        if port_in_use(first) is None:
            return first, claim
        claim.close()
    raise StoreError(f"No block of {BLOCK} free ports between {FIRST} and {LAST + BLOCK}.")

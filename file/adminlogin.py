"""The log-in of the admin, with a limit to how often a password can be guessed.

Each process counts failed attempts per user name and per address. Behind a proxy all clients have the proxy's
address, so an address may fail more often than a name. Headers with a client's address are not trusted. A refused
attempt does not hash the password. The number of counts is limited, and they expire.
"""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from threading import Lock

import structlog
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

FAILURES_A_NAME = 5
FAILURES_AN_ADDRESS = 20
FORGIVEN_SECONDS = 60.0  # after this time one failure is forgotten
_MOST_KEPT = 10_000
_log = structlog.get_logger()


class Attempts:
    """Allows `limit` attempts per key at once, then one more each time `seconds` have passed."""

    def __init__(self, limit: int, seconds: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._seconds = seconds
        self._now = now
        self._free_at: OrderedDict[str, float] = OrderedDict()  # the time at which all failures are forgotten
        self._lock = Lock()

    def take(self, key: str) -> bool:
        """Whether one more attempt is allowed. It counts at once, also for simultaneous attempts."""
        with self._lock:
            now = self._now()
            free_at = max(self._free_at.get(key, now), now) + self._seconds
            if free_at > now + self._limit * self._seconds:
                return False
            self._free_at[key] = free_at
            self._free_at.move_to_end(key)
            if len(self._free_at) > _MOST_KEPT:
                self._free_at.popitem(last=False)
            return True

    def give_back(self, key: str) -> None:
        """Undoes `take` after an attempt that did not fail."""
        with self._lock:
            if key in self._free_at:
                self._free_at[key] -= self._seconds


_names = Attempts(FAILURES_A_NAME, FORGIVEN_SECONDS)
_addresses = Attempts(FAILURES_AN_ADDRESS, FORGIVEN_SECONDS)


@never_cache
def login(request: HttpRequest) -> HttpResponse:
    """The log-in of the admin. Attempts beyond the limit are 429, whether the password is right or not."""
    if request.method != "POST":
        return admin.site.login(request)
    name, address = request.POST.get("username", "").casefold()[:254], _address_of(request)
    if not _addresses.take(address) or not _names.take(name):
        _log.warning("login_throttled", address=address)
        refused = render(request, "file/throttled.html", status=HTTPStatus.TOO_MANY_REQUESTS)
        refused["Retry-After"] = str(round(FORGIVEN_SECONDS))
        return refused
    response = admin.site.login(request)
    if response.status_code == HTTPStatus.FOUND:
        _addresses.give_back(address)
        _names.give_back(name)
    else:
        _log.warning("login_failed", address=address)
    return response


def _address_of(request: HttpRequest) -> str:
    """The address of the connection; for IPv6 its /64 network, because a client can use all addresses in it."""
    try:
        address = ipaddress.ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)

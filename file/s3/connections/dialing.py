"""Opens connections to an account's host: its addresses, one of them, and TLS.

The addresses are tried as RFC 8305 says, so that one that does not answer costs a quarter of a second. TLS is as that
of the HTTP client for large bodies: version 1.2 and newer, HTTP/1.1 only, certificates and names are checked against
the system's authorities and those of SSL_CERT_FILE.
"""

import asyncio
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

from aiohappyeyeballs import start_connection

from file.s3.connections.connection import Connection

_NEXT_ADDRESS_SECONDS = 0.25
_PORTS = {"http": 80, "https": 443}


@lru_cache(8)
def tls_context(authorities: bytes | None) -> ssl.SSLContext | None:
    """`authorities`: in PEM, besides those of the system. None if Python's OpenSSL does not find those of the system.

    Cached, because reading the authorities takes some ten milliseconds for each account.
    """
    context, paths = ssl.create_default_context(), ssl.get_default_verify_paths()
    try:
        context.load_verify_locations(paths.openssl_cafile)  # OpenSSL reads SSL_CERT_FILE in place of it
    except OSError:  # there is none, or none with certificates
        if not _is_filled(paths.capath):
            return None
    if authorities:
        context.load_verify_locations(cadata=authorities.decode("ascii", "ignore"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # any certificate in the file is trusted, not only a root
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialer:
    """`netloc`: host and port of a URL. `tls`: for https. `seconds`: for everything until the connection is usable."""

    def __init__(self, scheme: str, netloc: str, tls: ssl.SSLContext | None, *, seconds: float) -> None:
        host, colon, port = netloc.rpartition(":")
        if not colon or netloc.endswith("]"):
            host, port = netloc, ""
        self._host = host.removeprefix("[").removesuffix("]")
        self._port = int(port) if port else _PORTS[scheme]
        self._tls = tls if scheme == "https" else None
        self._seconds = seconds
        # A thread of its own: the threads of the event loop are few, and names that do not resolve would take them from
        # the other accounts.
        self._names = ThreadPoolExecutor(1, thread_name_prefix="names")
        assert scheme == "http" or self._tls is not None

    async def dial(self) -> Connection:
        """Raises `OSError`: also those of TLS and of names, and `TimeoutError`."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._dial()
        except UnicodeError as error:  # the host is no name that DNS can have
            raise socket.gaierror(socket.EAI_NONAME, str(error)) from error

    def close(self) -> None:
        """A search for a name that is under way ends by itself."""
        self._names.shutdown(wait=False, cancel_futures=True)

    async def _dial(self) -> Connection:
        loop = asyncio.get_running_loop()
        search = partial(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM)
        found = await loop.run_in_executor(self._names, search)
        sock = await start_connection(found, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            name = self._host.rstrip(".") if self._tls is not None else None
            _, connection = await loop.create_connection(
                lambda: Connection(sock), sock=sock, ssl=self._tls, server_hostname=name
            )
        except BaseException:
            sock.close()
            raise
        return connection


def _is_filled(folder: str | None) -> bool:
    if folder is None:
        return False
    with os.scandir(folder) as entries:
        return any(True for _ in entries)

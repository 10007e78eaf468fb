"""Opening a connection: addresses, names, TLS, and why there is none. Certificates: `tests/unit/s3/test_client.py`."""

import asyncio
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme

from file.s3.connections.dialing import Dialer, tls_context
from tests.unit.s3.connections.conftest import WAIT_SECONDS, Listener


async def cause(dialer: Dialer) -> OSError:
    try:
        await dialer.dial()
    except OSError as error:
        return error
    raise AssertionError("it is connected")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_it_connects_when_one_of_the_addresses_answers(host: str, listener: Listener) -> None:
    connection = await Dialer("http", f"{host}:{listener.port}", None, seconds=WAIT_SECONDS).dial()
    peer = await listener.accept()
    assert connection.is_free
    assert connection.is_silent
    connection.close()
    assert await peer.receive() == b""


async def test_it_connects_when_the_address_is_of_version_6() -> None:
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with server:
        connection = await Dialer("http", f"[::1]:{server.getsockname()[1]}", None, seconds=WAIT_SECONDS).dial()
        connection.close()


@pytest.mark.parametrize("host", ["store.invalid", f"{'a' * 64}.invalid", f"{'a' * 64}..invalid"])
async def test_it_says_so_when_the_host_is_not_known(host: str) -> None:
    assert isinstance(await cause(Dialer("http", host, None, seconds=WAIT_SECONDS)), socket.gaierror)


async def test_other_hosts_are_reached_when_one_host_is_searched_for_without_an_end(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, found = socket.getaddrinfo, threading.Event()

    def resolver(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "store.invalid":
            found.wait(WAIT_SECONDS)
        return known(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    hanging = Dialer("http", "store.invalid", None, seconds=WAIT_SECONDS)
    dialing = [asyncio.ensure_future(cause(hanging)) for _ in range(40)]
    await asyncio.sleep(0)
    connection = await Dialer("http", f"localhost:{listener.port}", None, seconds=WAIT_SECONDS).dial()
    connection.close()
    assert not any(each.done() for each in dialing)
    hanging.close()
    found.set()
    await asyncio.wait(dialing)


async def test_it_gives_up_when_the_other_end_never_speaks_tls(listener: Listener) -> None:
    dialer = Dialer("https", f"127.0.0.1:{listener.port}", tls_context(None), seconds=0.1)
    assert isinstance(await cause(dialer), TimeoutError)
    peer = await listener.accept()
    while await peer.receive():  # its greeting, and the end
        pass


async def test_it_says_so_when_the_other_end_speaks_something_else(listener: Listener) -> None:
    dialer = Dialer("https", f"127.0.0.1:{listener.port}", tls_context(None), seconds=WAIT_SECONDS)
    dialing = asyncio.ensure_future(cause(dialer))
    peer = await listener.accept()
    peer.send(b"220 mail.example ESMTP\r\n")
    assert isinstance(await dialing, ssl.SSLError | ConnectionError)


def test_tls_is_of_version_1_2_and_newer_and_names_are_checked() -> None:
    context = tls_context(None)
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert tls_context(None) is context


@pytest.mark.parametrize("has_own", [False, True])
def test_there_is_no_tls_of_our_own_when_the_authorities_of_the_system_are_not_found(
    has_own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE adds to them: public stores must still be known."""
    own, (folder, file) = trustme.CA().cert_pem, (tmp_path / "empty", tmp_path / "own.pem")
    folder.mkdir()
    file.write_bytes(own.bytes() if has_own else b"")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    without = ssl.get_default_verify_paths()._replace(openssl_cafile=str(tmp_path / "missing.pem"))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: without)
    assert tls_context.__wrapped__(own.bytes() if has_own else None) is None

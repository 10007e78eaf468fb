"""Opening a connection: addresses, names, TLS, and why there is none. Certificates: `tests/unit/s3/test_client.py`."""

import asyncio
import socket
import ssl
from pathlib import Path

import pytest

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


def test_there_is_no_tls_of_our_own_when_no_authorities_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "empty.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "empty"))
    assert tls_context.__wrapped__(None) is None

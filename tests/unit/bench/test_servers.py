"""The null S3 by TLS: only who trusts its authority uploads to it, and the contestants do."""

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from bench.contestants.ours import Ours
from bench.figures import MiB, Work
from bench.native_tools import run_load
from bench.servers import Tls
from testkit.account import StoreAccount


@contextmanager
def connected(account: StoreAccount, context: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    address = urlsplit(account.endpoint_url)
    assert address.scheme == "https"
    assert address.hostname is not None
    connection = http.client.HTTPSConnection(address.hostname, address.port, timeout=10, context=context)
    with closing(connection):
        yield connection


def test_uploads_by_tls_are_answered_when_the_client_trusts_the_authority(tls_store: StoreAccount, tls: Tls) -> None:
    with connected(tls_store, ssl.create_default_context(cafile=tls.authority)) as connection:
        for size in (4096, 3 * MiB + 1):
            connection.request("PUT", f"/bucket-a/{size}", body=bytes(size))
            with connection.getresponse() as answer:
                assert (answer.status, answer.read()) == (200, b"")
            connection.request("HEAD", f"/bucket-a/{size}")
            with connection.getresponse() as answer:
                assert answer.headers["content-length"] == str(size)
                answer.read()


def test_the_connection_fails_when_the_client_does_not_trust_the_authority(tls_store: StoreAccount) -> None:
    with (
        connected(tls_store, ssl.create_default_context()) as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        connection.request("HEAD", "/bucket-a/k")


def test_this_service_uploads_by_tls_when_it_was_given_the_authority(
    tls_store: StoreAccount, tls: Tls, native: dict[str, Path], tmp_path: Path
) -> None:
    ours = Ours([tls_store], tmp_path, authority=tls.authority)
    try:
        ours.start()
        port = urlsplit(ours.url).port
        assert port is not None
        work = Work(size=4096, at_once=2, seconds=60, limit_seconds=60, requests=4)
        load = run_load(native["load"], port, f"{ours.path}k", work, headers=ours.headers)
    finally:
        ours.stop()
    assert (load.operations, load.refused) == (4, 0), load.first_bad

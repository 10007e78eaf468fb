"""The connection to S3: private authorities, and proxies that are used or bypassed, as the settings say.

A real store is behind TLS with a certificate of the test; boto3 examines the store without TLS and proxy.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trustme

from file.logic.errors import AccountError, AccountUnreachableError
from file.s3.client import Network
from testkit.account import StoreAccount
from testkit.ports import free_port
from testkit.serviceprocess import ServiceProcess
from tests.files import described, part_of
from tests.serving import HEADERS
from tests.unit.s3.conftest import OpenBucket, both_ways, refusal
from tests.unit.s3.network import ConnectProxy, tls_before

UNKNOWN_HOST = "https://store.example"  # no name server knows it: only a proxy can reach it
KEY = "certificate expired, connection refused: dns error.txt"  # a key says nothing about the connection


AUTHORITY, ANOTHER = trustme.CA(), trustme.CA()


@pytest.fixture
async def tls_port(account: StoreAccount) -> AsyncIterator[int]:
    """Account A behind TLS, with a certificate of `AUTHORITY` for localhost and store.example."""
    certificate = AUTHORITY.issue_cert("localhost", "store.example")
    async with tls_before(port_of(account), certificate) as port:
        yield port


def behind_tls(account: StoreAccount, port: int) -> StoreAccount:
    return account.at(f"https://localhost:{port}")


def port_of(account: StoreAccount) -> int:
    port = urlsplit(account.endpoint_url).port
    assert port is not None
    return port


def pem(*authorities: trustme.CA) -> bytes:
    return b"".join(authority.cert_pem.bytes() for authority in authorities)


def keys(account: StoreAccount) -> list[str]:
    return [key for key, _ in account.contents().versions]


@pytest.mark.parametrize(
    "trusted", [(AUTHORITY,), (AUTHORITY, ANOTHER), (ANOTHER, AUTHORITY)], ids=["alone", "first", "last"]
)
@both_ways
async def test_file_is_stored_when_the_authority_is_among_the_trusted(
    way: Network, trusted: tuple[trustme.CA, ...], tls_port: int, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    bucket = await open_bucket(behind_tls(account, tls_port), network=replace(way, ca_pem=pem(*trusted)))
    await bucket.put(described("k"), part_of(b"x"))
    assert keys(account) == ["k"]


async def refused(open_bucket: OpenBucket, account: StoreAccount, network: Network) -> AccountError:
    bucket = await open_bucket(account, network=network)
    error = await refusal(bucket, bucket.put(described(KEY), part_of(b"x")))
    assert isinstance(error, AccountUnreachableError)
    assert not error.unanswered
    return error


@pytest.mark.parametrize("ca_pem", [None, pem(ANOTHER)], ids=["default", "another authority"])
@both_ways
async def test_nothing_is_sent_when_the_certificate_is_not_trusted(
    way: Network, ca_pem: bytes | None, tls_port: int, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    error = await refused(open_bucket, behind_tls(account, tls_port), replace(way, ca_pem=ca_pem))
    assert str(error) == "Account A cannot be reached: its certificate is not trusted here (SSL_CERT_FILE)."
    assert keys(account) == []


@pytest.mark.parametrize(
    ("host", "not_after", "why"),
    [
        ("elsewhere.example", None, "its certificate is for another host (endpoint_url)"),
        ("localhost", datetime(2020, 1, 1), "its certificate has expired"),
    ],
    ids=["another host", "expired"],
)
@both_ways
async def test_nothing_is_sent_when_the_certificate_is_for_another_host_or_has_expired(
    way: Network, host: str, not_after: datetime | None, why: str, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    async with tls_before(port_of(account), AUTHORITY.issue_cert(host, not_after=not_after)) as port:
        error = await refused(open_bucket, behind_tls(account, port), replace(way, ca_pem=pem(AUTHORITY)))
    assert str(error) == f"Account A cannot be reached: {why}."
    assert keys(account) == []


@both_ways
async def test_the_error_says_why_when_the_connection_is_refused_or_the_host_unknown(
    way: Network, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    for url, why in (
        (f"https://localhost:{free_port()}", "it refuses connections"),
        (UNKNOWN_HOST, "its host is not known: check region_name and endpoint_url, or the network here"),
    ):
        error = await refused(open_bucket, account.at(url), way)
        assert str(error) == f"Account A cannot be reached: {why}."


async def test_file_goes_through_the_proxy_when_there_is_one(
    tls_port: int, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    async with ConnectProxy(tls_port).running() as proxy:
        network = Network(https_proxy=proxy.url, no_proxy="localhost", ca_pem=pem(AUTHORITY))
        bucket = await open_bucket(account.at(UNKNOWN_HOST), network=network)
        await bucket.put(described("through"), part_of(b"x"))
        assert proxy.asked == ["CONNECT store.example:443"]
        # Plain HTTP does not use it, nor do connections to the hosts of NO_PROXY.
        for key, around in (("around", behind_tls(account, tls_port)), ("plain", account)):
            bucket = await open_bucket(around, network=network)
            await bucket.put(described(key), part_of(b"x"))
        assert proxy.asked == ["CONNECT store.example:443"]
    assert keys(account) == ["around", "plain", "through"]


async def test_certificate_is_checked_when_there_is_a_proxy(
    tls_port: int, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    async with ConnectProxy(tls_port).running() as proxy:
        error = await refused(open_bucket, account.at(UNKNOWN_HOST), Network(https_proxy=proxy.url))
    assert str(error) == "Account A cannot be reached: its certificate is not trusted here (SSL_CERT_FILE)."
    assert keys(account) == []


async def test_only_the_proxy_gets_its_credentials_when_it_requires_them(
    tls_port: int, account: StoreAccount, open_bucket: OpenBucket
) -> None:
    beyond, trusted = account.at(UNKNOWN_HOST), pem(AUTHORITY)
    async with ConnectProxy(tls_port, wants="user:the pass").running() as proxy:
        right = Network(https_proxy=proxy.url.replace("//", "//user:the%20pass@"), ca_pem=trusted)
        bucket = await open_bucket(beyond, network=right)
        await bucket.put(described("k"), part_of(b"x"))
        wrong = Network(https_proxy=proxy.url.replace("//", "//user:wrong-pass@"), ca_pem=trusted)
        error = await refused(open_bucket, beyond, wrong)
        assert str(error) == "Account A cannot be reached: the proxy wants credentials (HTTPS_PROXY)."
        assert "wrong-pass" not in repr(error.__cause__)
    error = await refused(open_bucket, beyond, right)  # the proxy has stopped
    assert "the proxy does not lead us there, or is not there itself (HTTPS_PROXY)" in str(error)
    assert "the%20pass" not in repr(error.__cause__)


async def test_the_connections_follow_the_settings_when_the_service_is_started_with_them(
    tls_port: int, accounts: dict[str, StoreAccount], tmp_path: Path
) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(pem(ANOTHER, AUTHORITY))
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(ConnectProxy(tls_port).running())
        port = await stack.enter_async_context(tls_before(port_of(accounts["B"]), AUTHORITY.issue_cert("localhost")))
        reached = [accounts["A"].at(UNKNOWN_HOST), behind_tls(accounts["B"], port)]
        network = {"HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.1, localhost", "SSL_CERT_FILE": str(authorities)}
        service = ServiceProcess(tmp_path, reached, network)
        await asyncio.to_thread(service.start)
        stack.push_async_callback(asyncio.to_thread, service.stop)
        client = await stack.enter_async_context(httpx.AsyncClient(headers=HEADERS, trust_env=False, timeout=30))
        answer = await client.put(f"{service.url}/files/k", content=b"x")
        assert answer.status_code == 201, answer.text
        assert proxy.asked == ["CONNECT store.example:443"]
    assert [keys(accounts[name]) for name in "AB"] == [["k"], ["k"]]

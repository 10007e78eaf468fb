"""The admin: guesses of passwords are limited, no path causes an error 500, no page contains a foreign script."""

import base64
import hashlib
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest

from file.adminlogin import _MOST_KEPT, FAILURES_A_NAME, FAILURES_AN_ADDRESS, Attempts
from testkit.serviceprocess import ServiceProcess
from tests.databases import sqlite_template
from tests.unit.api.processes import service_alone
from tests.unit.ledger.commands import run_python, sqlite_url

PASSWORD = "password-of-root"
SUPERUSERS = """
import os, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mentumfileupload.settings"
django.setup()
from django.contrib.auth.models import User
for name in ("root", "boss"):
    User.objects.create_superuser(name, "x@files.example", sys.argv[1])
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """With two superusers; DEBUG is on, or a browser's cookies would want https."""
    folder = tmp_path_factory.mktemp("admin")
    shutil.copyfile(sqlite_template(), folder / "ledger.sqlite3")
    url = sqlite_url(folder / "ledger.sqlite3")
    made = run_python(url, "-c", SUPERUSERS, PASSWORD)
    assert made.returncode == 0, made.stderr
    with service_alone(folder) as running:
        yield running


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, trust_env=False, timeout=30) as client:
        yield client


def log_in(client: httpx.Client, name: str, password: str) -> httpx.Response:
    form = client.get("/admin/login/").text
    (token,) = re.findall('name="csrfmiddlewaretoken" value="([^"]+)"', form)
    fields = {"username": name, "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"}
    return client.post("/admin/login/", data=fields)


def status_of(service: ServiceProcess, target: bytes, cookies: str) -> int:
    """The target is sent unchanged; 0 for a connection that was closed without an answer."""
    place = urlsplit(service.url)
    with closing(socket.create_connection((place.hostname or "", place.port or 0), timeout=30)) as connection:
        rest = f"HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: {cookies}\r\nconnection: close\r\n\r\n".encode()
        connection.sendall(b"GET " + target + b" " + rest)
        line = connection.makefile("rb").readline()
        return int(line.split(b" ")[1]) if line else 0


MALFORMED = [
    *(b"%ff", b"%c3%28", b"%00", b"%0a", b"%ed%a0%80", b"%f4%90%80%80", b"%C2%85", b"%e2%80%a8", b"%00" * 2000),
    *(b"%", b"%zz", b"%2e%2e%2f", b"\xff", b"\xc3\xa9", b"%u0041", b"%e2%80%ae", b"a" * 9000, b"//", b"..;/", b"%5c"),
    *(b"?%ff=%00", b"?e=%00", b"_5Fff"),
]
REFUSED = MALFORMED[:9]
PATHS = [b"/", b"/admin/", b"/admin/file/file/", b"/admin/auth/user/", b"/static/", b"/receipts/", b"/admin/r/"]
QUERIES = [b"/admin/login/?next=", b"/admin/file/file/?q=", b"/admin/file/file/?p=", b"/admin/auth/user/?username="]


def test_a_malformed_path_is_not_found(service: ServiceProcess, client: httpx.Client) -> None:
    """Without a login, and for a superuser, whose request reaches the database."""
    assert log_in(client, "root", PASSWORD).status_code == 302
    known = "; ".join(f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar)
    asked = [place + bad for place in (*PATHS, *QUERIES) for bad in MALFORMED]
    asked += [place + bad + b"/change/" for place in PATHS[2:4] for bad in REFUSED]
    found = {target: status_of(service, target, known) for target in asked}
    strange = {target: status_of(service, target, "x=y") for target in asked if target.endswith(tuple(REFUSED))}
    for statuses in (found, strange):
        assert {target: status for target, status in statuses.items() if status >= 500} == {}
        assert {statuses[b"/admin/file/file/" + bad] for bad in REFUSED} == {404}
    assert '"event":"request_crashed"' not in service.log.read_text()


def test_a_page_loads_and_runs_only_what_is_served_here(client: httpx.Client) -> None:
    pages = {path: client.get(path) for path in ("/", "/admin/login/", "/admin/")}
    assert log_in(client, "root", PASSWORD).status_code == 302
    for path in ("", "file/file/", "auth/user/", "auth/user/add/", "password_change/"):
        pages[f"/admin/{path} as root"] = client.get(f"/admin/{path}")
    for name, page in pages.items():
        (policy,) = page.headers.get_list("content-security-policy")
        rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
        assert rules["default-src"] == rules["base-uri"] == rules["frame-ancestors"] == "'none'", name
        assert rules.get("script-src", "'none'") in ("'none'", "'self'"), name
        assert re.findall(r"\son\w+=|<script(?![^>]*(?:src=|application/json))[^>]*>|style=", page.text) == [], name
        for style in re.findall(r"<style>(.*?)</style>", page.text, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in rules["style-src"] or (name == "/" and "unsafe-inline" in rules["style-src"])


def test_no_password_is_checked_when_too_many_failed(client: httpx.Client, service: ServiceProcess) -> None:
    """Afterwards only this name cannot log in."""
    answers = [log_in(client, "boss", f"wrong-{number}") for number in range(FAILURES_A_NAME)]
    assert {answer.status_code for answer in answers} == {200}
    for name, password in (("boss", "wrong"), ("boss", PASSWORD), ("BOSS", PASSWORD)):
        refused = log_in(client, name, password)
        assert refused.status_code == 429
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert "sessionid" not in client.cookies
        assert "boss" not in refused.text
    assert log_in(client, "root", PASSWORD).status_code == 302  # other names can log in
    log = service.log.read_text()
    assert '"event":"login_throttled"' in log
    assert PASSWORD not in log
    assert "boss" not in log  # a name may be a password in the wrong field


def test_attempts_become_free_one_by_one() -> None:
    seconds = 0.0
    attempts = Attempts(3, 10, now=lambda: seconds)
    assert [attempts.take("a") for _ in range(5)] == [True, True, True, False, False]
    assert attempts.take("b")
    seconds = 9.9
    assert not attempts.take("a")
    seconds = 10.0
    assert [attempts.take("a") for _ in range(2)] == [True, False]
    attempts.give_back("a")
    assert [attempts.take("a") for _ in range(2)] == [True, False]
    seconds = 1000.0
    assert [attempts.take("a") for _ in range(4)] == [True, True, True, False]


def test_the_counts_are_bounded() -> None:
    attempts = Attempts(FAILURES_AN_ADDRESS, 60)
    for number in range(2 * _MOST_KEPT):
        assert attempts.take(str(number))
    assert len(attempts._free_at) == _MOST_KEPT

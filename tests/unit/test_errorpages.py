"""With `DEBUG` on, no error page shows a password or a setting, and only clients on loopback see details."""

import json
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from django.http import Http404, HttpResponse
from django.test import RequestFactory, override_settings
from django.views.debug import technical_500_response

from mentumfileupload.errorpages import PlainNotFound, Reporter
from testkit.serviceprocess import ServiceProcess
from tests.databases import Postgres
from tests.unit.api.processes import service_alone

PASSWORD = "password-of-the-database"
SESSION = {"cookie": f"sessionid={'x' * 32}"}  # it is looked up in the database
SECRETS = (PASSWORD, "DATABASES", "INSTALLED_APPS", "UploadSettings", "127.0.0.1:1", "x" * 32)


@pytest.fixture(scope="module")
def service(postgres_server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """With `DEBUG` on; its database was dropped after the start."""
    name = f"gone_{uuid4().hex[:8]}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template_of_tests")
    url = postgres_server.url(name).replace("postgres@", f"postgres:{PASSWORD}@")
    with service_alone(tmp_path_factory.mktemp("debug"), DATABASE_URL=url) as running:
        postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        yield running


def ask(service: ServiceProcess, **headers: str) -> httpx.Response:
    return httpx.get(f"{service.url}/admin/", headers={**SESSION, **headers}, timeout=30, trust_env=False)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_no_secret_is_on_the_page_when_the_database_is_down(service: ServiceProcess, accept: str) -> None:
    answer = ask(service, accept=accept)
    assert answer.status_code == 500
    assert "OperationalError" in answer.text
    assert "ensure_connection" in answer.text  # a person at this machine sees where it happened
    assert not [secret for secret in SECRETS if secret in answer.text]


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "x-real-ip", "via", "x-forwarded-host"])
def test_the_page_is_plain_when_a_proxy_passed_the_request_on(
    service: ServiceProcess, accept: str, header: str
) -> None:
    answer = ask(service, **{"accept": accept, header: "203.0.113.9"})
    assert answer.status_code == 500
    assert "cannot be shown" in answer.text
    assert len(answer.text) < 500


def test_no_page_is_shown_when_the_host_is_foreign(service: ServiceProcess) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example:8000"):
        answer = ask(service, host=host)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
        assert len(answer.text) < 500


def test_no_secret_is_in_the_log_when_the_database_is_down(service: ServiceProcess) -> None:
    ask(service)
    log = service.log.read_text()
    (*_, line) = [line for line in map(json.loads, log.splitlines()[1:]) if line.get("logger") == "django.request"]
    assert "OperationalError" in line["exception"]
    assert not [secret for secret in SECRETS if secret in log]


ADDRESSES = {
    "127.0.0.1": True, "127.8.8.8": True, "::1": True, "::ffff:127.0.0.1": True,
    "10.0.0.1": False, "203.0.113.9": False, "fe80::1": False, "::ffff:203.0.113.9": False, "": False, "unix:": False,
}  # fmt: skip


@pytest.mark.parametrize(("address", "is_shown"), ADDRESSES.items())
@override_settings(DEBUG=True)
def test_details_are_shown_when_the_client_is_on_loopback(address: str, is_shown: bool) -> None:
    request = RequestFactory().get("/admin/", REMOTE_ADDR=address, HTTP_ACCEPT="text/html", HTTP_HOST="localhost")
    secret = "-".join(("variable", "of", "a", "frame"))  # not in the lines of code
    try:
        raise ZeroDivisionError(len(secret))
    except ZeroDivisionError as error:
        page = technical_500_response(request, ZeroDivisionError, error, error.__traceback__).content.decode()
        mail = Reporter(request, ZeroDivisionError, error, error.__traceback__, is_email=True).get_traceback_text()
    assert ("ZeroDivisionError" in page) is is_shown
    assert "ZeroDivisionError" in mail
    for shown in (page, mail):
        assert secret not in shown
        assert "UploadSettings" not in shown
        assert "INSTALLED_APPS" not in shown
    assert "Request Method" in mail
    not_found = PlainNotFound(lambda request: HttpResponse()).process_exception(request, Http404())
    assert (not_found is None) is is_shown
    assert not_found is None or not_found.status_code == 404

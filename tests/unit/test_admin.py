"""The ledger in the admin: everything is to be seen, nothing to be changed, and no secret is on any page."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.api.processes import service_alone
from tests.unit.ledger.commands import run_manage, run_python, sqlite_url

# Logs in with a browser's cookies and token, over https, and tells what every page says.
SCRIPT = """
import datetime, json, os, re, sys, uuid
os.environ["DJANGO_SETTINGS_MODULE"] = "mentumfileupload.settings"
import django
django.setup()
from django.test import Client
from file.models import File, Replica

asked = json.loads(sys.argv[1])
now = datetime.datetime.now(datetime.UTC)
for number in range(1100):
    state = "partial" if number == 7 else "receiving" if number == 8 else "erased" if number == 9 else "stored"
    File.objects.create(
        id=uuid.UUID(int=number), key=f"folder/{number:04d}%_<b>.pdf", live=state != "erased", name="n", size=number,
        content_type="text/plain", ack="all", wanted={"A": "b/"}, state=state, who="me", created_at=now,
        idempotency_key=f"SECRET-{number}", owner="SECRET", lease_until=now if state == "receiving" else None,
    ) if number < 20 or asked["many"] else None
Replica.objects.create(
    file_id=uuid.UUID(int=7), account="A", bucket="bucket-of-a", object_key="k", state="pending", error_code="let_go",
    created_at=now, owner="SECRET",
)
client = Client(enforce_csrf_checks=True, headers={"host": "files.example"})
form = client.get("/admin/login/", secure=True)
token = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', form.content.decode())[1]
login = {"username": "root", "password": "password-of-root", "csrfmiddlewaretoken": token}
plain = client.post("/admin/login/", login, headers={"origin": "https://files.example"})
answers = [["login", plain.status_code, plain.headers.get("location", ""), plain.content.decode()]]
for method, path in asked["pages"]:
    answer = getattr(client, method)(path, secure=True, follow=False)
    answers.append([path, answer.status_code, answer.headers.get("location", ""), answer.content.decode()])
print(json.dumps(answers))
"""
SUPERUSER = {"DJANGO_SUPERUSER_PASSWORD": "password-of-root"}
SEVEN = "/admin/file/file/00000000-0000-0000-0000-000000000007"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated ledger with a superuser."""
    path = tmp_path_factory.mktemp("admin") / "ledger.sqlite3"
    for command in (["migrate"], ["createsuperuser", "--noinput", "--username=root", "--email=root@files.example"]):
        run = run_manage(sqlite_url(path), *command, "--verbosity=0", **SUPERUSER)
        assert run.returncode == 0, run.stderr
    return path


@pytest.fixture
def database_url(template: Path, tmp_path: Path) -> str:
    """A copy for the test."""
    return sqlite_url(Path(shutil.copy(template, tmp_path)))


def pages(database_url: str, *asked: tuple[str, str], many: bool = False) -> list[tuple[int, str, str]]:
    """Status, place and text of each page, to somebody who has logged in."""
    run = run_python(database_url, "-c", SCRIPT, json.dumps({"pages": asked, "many": many}))
    assert run.returncode == 0, run.stderr
    (login, *found) = json.loads(run.stdout.splitlines()[-1])
    assert (login[1], login[2]) == (302, "/accounts/profile/"), login
    return [(status, place, text) for _, status, place, text in found]


def keys_on(page: str) -> list[str]:
    return [f"{number:04d}" for number in range(1100) if f"folder/{number:04d}%_&lt;b&gt;.pdf</a>" in page]


def test_every_file_and_replica_is_shown_when_a_superuser_looks(database_url: str) -> None:
    found = pages(
        database_url,
        ("get", "/admin"),
        ("get", "/admin/file/file/"),
        ("get", f"{SEVEN}/change/"),
        ("get", "/admin/file/file/?state=partial"),
        ("get", "/admin/file/file/?state=receiving"),
        ("get", "/admin/file/file/?state=erased"),
        ("get", "/admin/file/file/?account=A"),
        ("get", "/admin/file/file/?account=A&state=stored"),
        ("get", "/admin/file/file/?q=folder/000"),
        ("get", "/admin/file/file/?q=older"),
        ("get", "/admin/file/file/?q=folder/0003%25_"),
        ("get", "/admin/file/file/?q=00000000-0000-0000-0000-000000000009"),
        ("get", "/admin/file/file/?state=%00"),
        ("get", "/admin/file/file/?account=%00"),
        ("get", "/admin/file/file/?account=nobody&state=strange"),
    )
    assert found[0][:2] == (302, "/admin/")
    assert {status for status, _, _ in found[1:]} == {200}
    texts = [text for _, _, text in found]
    assert keys_on(texts[1]) == [f"{number:04d}" for number in range(20)]
    assert [keys_on(text) for text in texts[3:8]] == [["0007"], ["0008"], ["0009"], ["0007"], []]
    assert keys_on(texts[8]) == [f"{number:04d}" for number in range(9)]  # the tenth was erased: no key
    assert [keys_on(text) for text in texts[9:]] == [[], ["0003"], ["0009"], [], [], []]
    assert "bucket-of-a" in texts[2]
    assert "let_go" in texts[2]
    assert not any("SECRET" in text for text in texts)


def test_nothing_can_be_changed_when_a_superuser_tries(database_url: str) -> None:
    change, add, delete, listing, page, posted = pages(
        database_url,
        ("post", f"{SEVEN}/change/"),
        ("get", "/admin/file/file/add/"),
        ("get", f"{SEVEN}/delete/"),
        ("post", "/admin/file/file/"),
        ("get", f"{SEVEN}/change/"),
        ("post", f"{SEVEN}/delete/"),
    )
    assert [answer[0] for answer in (change, add, delete, listing, posted)] == [403] * 5
    assert not any(button in page[2] for button in ('name="_save"', "deletelink", "/admin/file/file/add/"))


def test_pages_end_at_a_bound_when_there_are_more_files(database_url: str) -> None:
    first, last, beyond, narrowed = pages(
        database_url,
        ("get", "/admin/file/file/"),
        ("get", "/admin/file/file/?p=20"),
        ("get", "/admin/file/file/?p=21"),
        ("get", "/admin/file/file/?q=folder/0001"),
        many=True,
    )
    assert "at most the first 1,000" in first[2]
    assert keys_on(first[2]) == [f"{number:04d}" for number in range(1050, 1100)]
    assert keys_on(last[2]) == [f"{number:04d}" for number in range(100, 150)]
    assert not keys_on(beyond[2])
    assert keys_on(narrowed[2]) == ["0001"]


def test_a_stranger_sees_a_login_and_its_style_when_the_service_runs(tmp_path: Path) -> None:
    with (
        service_alone(tmp_path, DEBUG="false", ALLOWED_HOSTS="127.0.0.1") as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        answers: dict[str, Any] = {
            path: client.get(path)
            for path in (
                "/admin/",
                "/admin/login/",
                "/static/admin/css/base.css",
                "/static/none",
                "/static/%2e%2e/manage.py",
            )
        }
    assert (answers["/admin/"].status_code, answers["/admin/"].headers["location"]) == (
        302,
        "/admin/login/?next=/admin/",
    )
    assert answers["/admin/login/"].status_code == 200
    assert "/static/admin/css/base.css" in answers["/admin/login/"].text
    style = answers["/static/admin/css/base.css"]
    assert (style.status_code, style.headers["content-type"].partition(";")[0]) == (200, "text/css")
    assert [answers[path].status_code for path in ("/static/none", "/static/%2e%2e/manage.py")] == [404, 404]

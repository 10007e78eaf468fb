"""The ledger in the admin: everything is visible, nothing can be changed, and no page shows a secret."""

import json
import shutil
from pathlib import Path

import httpx
import pytest

from tests.unit.api.processes import service_alone
from tests.unit.ledger.commands import run_manage, run_python, sqlite_url

# Logs in with cookies and a CSRF token over https, and prints the answer of each page.
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
    """Status, location and text of each page for a superuser."""
    run = run_python(database_url, "-c", SCRIPT, json.dumps({"pages": asked, "many": many}))
    assert run.returncode == 0, run.stderr
    (login, *found) = json.loads(run.stdout.splitlines()[-1])
    assert (login[1], login[2]) == (302, "/accounts/profile/"), login
    return [(status, place, text) for _, status, place, text in found]


def keys_on(page: str) -> list[str]:
    return [f"{number:04d}" for number in range(1100) if f"folder/{number:04d}%_&lt;b&gt;.pdf</a>" in page]


EACH = [f"{number:04d}" for number in range(20)]
FILTERS = {  # a query, and the keys on its page
    "": EACH,
    "?state=partial": ["0007"],
    "?state=receiving": ["0008"],
    "?state=erased": ["0009"],
    "?account=A": ["0007"],
    "?account=A&state=stored": [],
    "?q=folder/000": EACH[:9],  # the tenth was erased: no key
    "?q=older": [],
    "?q=folder/0003%25_": ["0003"],
    "?q=00000000-0000-0000-0000-000000000009": ["0009"],
    "?state=%00": [],
    "?account=%00": [],
    "?account=nobody&state=strange": [],
}


def test_every_file_and_replica_is_shown_when_a_superuser_looks(database_url: str) -> None:
    asked = ["/admin", f"{SEVEN}/change/", *(f"/admin/file/file/{query}" for query in FILTERS)]
    front, replica, *found = pages(database_url, *(("get", path) for path in asked))
    assert front[:2] == (302, "/admin/")
    assert {status for status, _, _ in (replica, *found)} == {200}
    assert {query: keys_on(text) for query, (_, _, text) in zip(FILTERS, found, strict=True)} == FILTERS
    assert "bucket-of-a" in replica[2]
    assert "let_go" in replica[2]
    assert not any("SECRET" in text for _, _, text in (front, replica, *found))


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


def test_a_login_and_its_style_are_shown_when_nobody_is_logged_in(tmp_path: Path) -> None:
    with (
        service_alone(tmp_path, DEBUG="false", ALLOWED_HOSTS="127.0.0.1") as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        front, login = client.get("/admin/"), client.get("/admin/login/")
        assert (front.status_code, front.headers["location"]) == (302, "/admin/login/?next=/admin/")
        assert login.status_code == 200
        assert "/static/admin/css/base.css" in login.text
        style = client.get("/static/admin/css/base.css")
        assert (style.status_code, style.headers["content-type"].partition(";")[0]) == (200, "text/css")
        for path in ("/static/none", "/static/%2e%2e/manage.py"):
            assert client.get(path).status_code == 404, path

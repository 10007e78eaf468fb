"""Django's pages behind the API: the front page explains uploads, and shows nothing about the accounts."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess
from typing import Any

import pytest

Run = Callable[..., CompletedProcess[str]]

SCRIPT = """
import json, os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "mentumfileupload.settings"
django.setup()
from django.test import Client
client = Client(enforce_csrf_checks=True, headers={"host": "files.example"})
asked = [("get", "/"), ("head", "/"), ("post", "/")]
answers = [getattr(client, method)(path) for method, path in asked]
print(json.dumps([[a.status_code, dict(a.headers), a.content.decode()] for a in answers]))
"""


@pytest.fixture
def answers(run_python: Run, account_json: Callable[..., str]) -> Callable[..., list[Any]]:
    def ask(**environment: str) -> list[Any]:
        accounts = {f"AWS_ACCOUNT_N{n}NAME": account_json(s3_bucket_name=f"bucket-{n}") for n in range(3)}
        run = run_python("-W", "error", "-c", SCRIPT, ALLOWED_HOSTS="files.example", **accounts, **environment)
        assert run.returncode == 0, run.stderr
        found: list[Any] = json.loads(run.stdout.splitlines()[-1])
        return found

    return ask


def test_the_front_page_tells_how_to_upload_when_a_token_is_needed(answers: Callable[..., list[Any]]) -> None:
    (status, headers, page), head, post = answers()
    assert status == 200
    assert "3 AWS accounts" in page
    assert 'curl -H "Authorization: Bearer $TOKEN" \\\n  -F filename=report.pdf -F file=@report.pdf' in page
    assert "http://files.example/upload" in page
    assert "http://files.example/files/reports" in page
    assert "5.5\xa0MB" in page
    assert not any(secret in page for secret in ("N0NAME", "bucket-0", "files-a", "AKIAEXAMPLE", "eu-central-1"))
    assert "http" not in page.replace("http://files.example", "")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert head[0] == 200
    assert post[0] == 405


def test_the_front_page_asks_for_no_token_when_open(answers: Callable[..., list[Any]]) -> None:
    (_, _, page), _, _ = answers(UPLOAD_OPEN="true", DEBUG="true", UPLOAD_MAX_REQUEST_BYTES="0")
    assert "Bearer" not in page
    assert "curl \\\n  -F filename" in page
    assert "any size" in page

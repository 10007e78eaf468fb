"""The log: one line per request and per account, connected by the id of the request, and no secret in any of them."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from testkit.memorybucket import MemoryBucket
from testkit.processes import run_process
from testkit.serviceprocess import TOKEN
from tests.serving import Running, running
from tests.unit.api.expectations import ALWAYS, PART, assert_problem, three, until
from tests.unit.api.rawhttp import exchange, form_part, head, post_form, put

Line = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
GIVEN_ID = "the-client.s_own-Id1"


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as captured:
        yield captured  # type: ignore[misc]


async def line_of(lines: list[Line], target: str) -> Line:
    """The line of the one request for this path; that of a GET is written just after the answer."""

    def found() -> list[Line]:
        return [line for line in lines if line["event"] == "request" and line["path"] == target]

    await until(lambda: bool(found()))
    (line,) = found()
    return line


def accounts_of(lines: list[Line], request_id: str) -> dict[str, Line]:
    return {line["account"]: line for line in lines if "account" in line and line["request_id"] == request_id}


async def test_the_lines_have_everything_when_a_file_is_stored(lines: list[Line]) -> None:
    async with running(three()) as service:
        answer = await put(service, "a/key", b"content", f"x-request-id: {GIVEN_ID}")
        assert answer.headers["x-request-id"] == GIVEN_ID
        line = await line_of(lines, "/files/a/key")
    receipt = answer.json()
    assert (line["request_id"], line["id"]) == (GIVEN_ID, receipt["id"])
    assert (line["method"], line["who"], line["key"], line["stored"]) == ("PUT", "tests", "a/key", True)
    assert (line["size"], line["received"], line["status"]) == (7, 7, 201)
    assert 0 < line["seconds"] < 10
    accounts = accounts_of(lines, GIVEN_ID)
    assert set(accounts) == {"A", "B", "C"}
    for name, line in accounts.items():
        assert line["event"] == "account_stored"
        assert (line["id"], line["key"], line["bucket"]) == (receipt["id"], "a/key", f"bucket-{name.lower()}")
        assert (line["attempts"], line["s3_request_id"]) == (1, "memory")
        assert line["seconds"] >= 0


async def test_the_lines_have_each_account_and_its_reason_when_one_fails(lines: list[Line]) -> None:
    async with running(three(refuses_put=ALWAYS)) as service:
        answer = await put(service, "k", b"content")
        line = await line_of(lines, "/files/k")
    assert_problem(answer, 502, "accounts_failed")
    assert (line["status"], line["stored"], line["size"]) == (502, False, 7)
    accounts = accounts_of(lines, line["request_id"])
    codes = {"A": "taken_back", "B": "access_refused", "C": "taken_back"}
    assert {name: line["code"] for name, line in accounts.items()} == codes
    for line in accounts.values():
        assert (line["event"], line["log_level"], line["removal"]) == ("account_failed", "warning", "removed")


async def test_the_attempts_are_counted_when_an_account_had_to_be_asked_again(lines: list[Line]) -> None:
    async with running(three(fails_put=2)) as service:
        assert (await put(service, "k")).status_code == 201
        line = await line_of(lines, "/files/k")
    attempts = {name: line["attempts"] for name, line in accounts_of(lines, line["request_id"]).items()}
    assert attempts == {"A": 1, "B": 3, "C": 1}


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        *((given, True) for given in (b"a", b"A-1._b" * 10, b"x" * 64)),
        *((given, False) for given in (b"x" * 65, b"", b"two words", b'{"event":"forged"}', b"a\xc3\xbc", b"%0a")),
    ],
)
async def test_the_clients_id_is_used_when_it_is_harmless(lines: list[Line], given: bytes, kept: bool) -> None:
    async with running([MemoryBucket("A")]) as service:
        answer = await exchange(service, head("GET", "/_/health", b"x-request-id: " + given))
        line = await line_of(lines, "/_/health")
    request_id = answer.headers["x-request-id"]
    assert request_id == line["request_id"]
    assert (request_id.encode() == given) is kept
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", request_id)


async def test_each_line_has_its_own_id_when_requests_run_at_once(lines: list[Line]) -> None:
    buckets = three()
    buckets[1].delay_seconds = 0.05
    async with running(buckets) as service:
        answers = await asyncio.gather(
            *(put(service, f"{number}", b"x", f"x-request-id: id-{number}") for number in range(9))
        )
        for number, answer in enumerate(answers):
            assert answer.headers["x-request-id"] == f"id-{number}"
            assert (await line_of(lines, f"/files/{number}"))["request_id"] == f"id-{number}"
            assert {line["key"] for line in accounts_of(lines, f"id-{number}").values()} == {f"{number}"}


async def test_the_line_has_the_code_when_a_request_is_refused(lines: list[Line]) -> None:
    async with running(three()) as service:
        requests = {
            "/files/a/../b": (400, "key_refused"),
            "/files/gone": (400, "client_gone"),
            "/_/nothing": (404, "no_such_resource"),
            "/upload": (405, "method_not_allowed"),
        }
        for target in requests:
            await exchange(service, head("PUT", target, "content-length: 5"), b"x", end=True)
        for target, expected in requests.items():
            line = await line_of(lines, target)
            assert (line["status"], line["code"]) == expected


async def ask_for_trouble(service: Running) -> None:
    """Requests that succeed, fail, and carry the token where it does not belong."""
    await put(service, "k", b"x", "content-type: text/plain")
    await put(service, "k", b"x")
    await put(service, "m", b"x", f"x-amz-meta-mentum-token: {TOKEN}")
    await put(service, f"q?token={TOKEN}")
    await put(service, "r", b"x", f"x-request-id: Bearer {TOKEN}")
    await put(service, "large", b"x" * 3 * PART)
    await post_form(service, form_part("file", b"x", filename="f"))
    await post_form(service, form_part("token", TOKEN.encode()))
    await exchange(service, b"PUT /files/k HTTP/1.1\r\nhost: x\r\nauthorization: Bearer wrong-token\r\n\r\n")


async def test_no_secret_is_logged_when_requests_succeed_or_fail(lines: list[Line]) -> None:
    for faults in ({}, {"refuses_put": ALWAYS, "refuses_part": ALWAYS, "refuses_remove": ALWAYS}):
        async with running(three(**faults), part_size=PART) as service:
            await ask_for_trouble(service)
            await until(lambda: sum(line["event"] == "request" and line["method"] != "GET" for line in lines) >= 9)
        for secret in (TOKEN, "wrong-token", "secret"):  # the last one is the key of the memory buckets' accounts
            assert secret not in repr(lines)
        lines.clear()


async def test_the_answer_has_no_details_when_the_service_has_an_error_of_its_own(lines: list[Line]) -> None:
    class Broken(MemoryBucket):
        async def probe(self) -> None:
            raise ZeroDivisionError("the text of a foreign exception")

    async with running([Broken("A")]) as service, service.client() as client:
        answer = await client.get("/_/accounts")
        line = await line_of(lines, "/_/accounts")
    assert_problem(answer, 500, "internal_error")
    assert (line["code"], line["request_id"]) == ("internal_error", answer.json()["request_id"])
    assert "foreign" not in answer.text
    (crash,) = [line for line in lines if line["event"] == "request_crashed"]
    assert crash["request_id"] == line["request_id"]


PROGRAM = """
import asyncio, logging, os
import django; django.setup()
from file.service.logs import configure
from tests.unit.api.rawhttp import put
from testkit.memorybucket import MemoryBucket
from tests.serving import running

async def main():
    async with running([MemoryBucket("A")]) as service:
        await put(service, "k\\u00fc%22", b"x")
        os.write(2, b'{"event": "answered"}\\n')
    logging.getLogger("a.library").warning("its %s", "line")

configure("info")
asyncio.run(main())
"""


def test_each_line_is_one_json_object_and_before_the_answer_when_the_log_is_configured() -> None:
    environment = {"PATH": "", "DEBUG": "true", "UPLOAD_ENV_FILE": "", "PYTHONPATH": str(ROOT)}
    environment["DJANGO_SETTINGS_MODULE"] = "mentumfileupload.settings"
    options: dict[str, Any] = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True, "timeout": 60}
    ended = run_process([sys.executable, "-c", PROGRAM], **options)
    # The interpreter's own output at its end, and its exit code, are left to the tests of `runserver`.
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    ours = [line for line in lines if line.get("path") != "/_/ready" and line.get("logger") != "httpx"]
    assert [line["event"] for line in ours] == ["account_stored", "request", "answered", "its line"]
    request = ours[1]
    assert (request["status"], request["key"], request["level"]) == (201, 'k\u00fc"', "info")
    assert request["timestamp"].endswith("Z")
    assert ended.stdout == ""

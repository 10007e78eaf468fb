"""Answered connections are closed, also without Python's collector of cycles: no error keeps one open.

The service is a process with this collector off. Each client keeps its connection after the answer and sends nothing
more: the service closes it, and then has no more sockets than before.
"""

import asyncio
import base64
import json
import os
import signal
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path

from file.logic.values import KiB, MiB
from testkit.serviceprocess import TOKEN, ServiceProcess
from tests.service.hostile.oneaccount import put, serving
from tests.service.receipts import answer_when
from tests.service.services import client_of, until
from tests.unit.api.figures import read, value
from tests.unit.api.rawhttp import Listening, connected, exchange, form_head, form_part, head

AT_ONCE = 6
PART = 8 * MiB


def uncollected(
    folder: Path, *, max_uploads: int = 1000, grace_seconds: float = 1.0
) -> AbstractAsyncContextManager[ServiceProcess]:
    return serving(
        folder,
        command=("-m", "tests.service.hostile.uncollected"),
        UPLOAD_MEMORY=str(8 * PART),
        UPLOAD_MAX_UPLOADS=str(max_uploads),
        UPLOAD_MAX_REQUEST_BYTES=str(2 * PART),
        UPLOAD_WAIT_SECONDS="0.5",
        UPLOAD_CLIENT_GRACE_SECONDS=str(grace_seconds),
    )


CLOSING = "connection: close"
BEGUN = form_part("file", b"x" * 10, filename="f").removesuffix(b"\r\n")
WRONG = f"repr-digest: sha-256=:{base64.b64encode(bytes(32)).decode()}:"
# Status and code, and what is sent; no more is ever sent. `@` is a number, so that keys differ.
ANSWERS: dict[str, tuple[int, str, tuple[bytes, ...]]] = {
    "too slow": (408, "client_too_slow", (put("slow-@", 100 * KiB), b"x" * 10)),
    "too slow in a second part": (408, "client_too_slow", (put("slow-later-@", 2 * PART - MiB), b"x" * (PART + MiB))),
    "too slow in a form": (408, "client_too_slow", (form_head("content-length: 100000"), BEGUN)),
    "too large": (413, "request_too_large", (put("large-@", 3 * PART), b"x" * 10)),
    "no token": (401, "token_missing", (put("k", 100).replace(b"authorization", b"x-authorization"),)),
    "a wrong token": (401, "token_refused", (put("k", 100).replace(TOKEN.encode(), b"wrong"),)),
    "another digest": (422, "digest_mismatch", (put("digest-@", 1, WRONG, CLOSING), b"x")),
    "a key that is taken": (409, "key_taken", (put("taken", 1, CLOSING), b"y")),
    "a condition that fails": (412, "condition_failed", (put("taken", 100, "if-none-match: *"),)),
    "an account that refuses": (502, "accounts_failed", (put("refused-@", 1, CLOSING), b"x")),
    "an account that refuses parts": (502, "accounts_failed", (put("refused-parts-@", 2 * PART - MiB), b"x" * PART)),
    "a file that cannot be read": (502, "file_unreadable", (head("GET", "/files/unreadable", CLOSING),)),
    "a file that is not there": (404, "file_not_found", (head("GET", "/files/nothing", CLOSING),)),
}


async def answered_and_closed(service: Listening, status: int, code: str | None, *pieces: bytes) -> None:
    """Send this and nothing more: the answer comes, and then the end of the connection."""
    async with connected(service) as connection:
        await connection.send(*pieces)
        answer = await connection.answer()
        assert (answer.status_code, answer.json().get("code")) == (status, code)
        assert await connection.ended(), code


async def send_and_leave(service: Listening, *pieces: bytes) -> None:
    async with connected(service) as connection:
        await connection.send(*pieces)
        await asyncio.sleep(0.2)  # so that the service has begun to answer
        await connection.cut()


def sockets_of(service: ServiceProcess) -> int:
    """The number of open sockets, also of those that listen; read from /proc."""
    count = 0
    for descriptor in Path(f"/proc/{service.process_id}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed in between
            count += os.readlink(descriptor).startswith("socket:")  # noqa: PTH115 - it leads to no path
    return count


async def assert_nothing_is_kept(service: ServiceProcess, before: int) -> None:
    """No more sockets than before, and no error in a cycle."""

    def lines() -> list[str]:
        return [line for line in service.log.read_text().splitlines() if "errors_in_cycles" in line]

    await until(lambda: sockets_of(service) <= before)
    service.signal(signal.SIGUSR1)
    await until(lambda: bool(lines()))
    assert [json.loads(line)["errors"] for line in lines()] == [[]]


async def until_it_holds(service: ServiceProcess, size: int) -> None:
    """This amount of memory for parts."""
    async with client_of(service) as client:
        await answer_when(lambda: read(client), lambda figures: value(figures, "mentum_memory_used_bytes") == size)


def numbered(pieces: Sequence[bytes], number: int) -> list[bytes]:
    return [pieces[0].replace(b"@", b"%d" % number), *pieces[1:]]


async def test_each_connection_is_closed_when_its_request_was_answered_early(tmp_path: Path) -> None:
    async with uncollected(tmp_path) as service:
        before = sockets_of(service)
        for key in ("taken", "unreadable"):
            assert (await exchange(service, put(key, 1, CLOSING), b"x")).status_code == 201
        async with asyncio.TaskGroup() as group:
            for status, code, pieces in ANSWERS.values():
                for number in range(1 if len(b"".join(pieces)) > PART // 2 else AT_ONCE):
                    group.create_task(answered_and_closed(service, status, code, *numbered(pieces, number)))
        await assert_nothing_is_kept(service, before)


async def test_each_connection_is_closed_when_the_service_was_too_busy(tmp_path: Path) -> None:
    async with (
        uncollected(tmp_path, max_uploads=2 * (4 + AT_ONCE), grace_seconds=5.0) as service,
        AsyncExitStack() as holding,
    ):
        before = sockets_of(service)
        for number in range(4):  # these hold all memory that a token may have
            connection = await holding.enter_async_context(connected(service))
            await connection.send(put(f"holds-{number}", PART), b"x" * (PART - 1))
        await until_it_holds(service, 4 * PART)
        waiting = [answered_and_closed(service, 503, "busy", put(f"waits-{n}", PART)) for n in range(AT_ONCE)]
        refused = [answered_and_closed(service, 503, "busy", put(f"refused-{n}", PART)) for n in range(AT_ONCE)]
        await asyncio.gather(*waiting, *refused)
        await holding.aclose()
        await assert_nothing_is_kept(service, before)


async def test_no_connection_is_kept_when_clients_go(tmp_path: Path) -> None:
    async with uncollected(tmp_path) as service:
        before = sockets_of(service)
        assert (await exchange(service, put("large", PART, CLOSING), b"x" * PART)).status_code == 201
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                for pieces in (
                    (put("gone-@", 100 * KiB), b"x" * 10),
                    (form_head("content-length: 100000"), BEGUN),
                    (head("GET", "/files/large"),),
                    (head("GET", "/files/nothing"),),
                ):
                    group.create_task(send_and_leave(service, *numbered(pieces, number)))
        await send_and_leave(service, put("gone-later", 2 * PART - MiB), b"x" * (PART + MiB))
        await assert_nothing_is_kept(service, before)

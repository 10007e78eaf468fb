"""The clients: they upload, retry, repeat, read, and delete files, and record each answer.

After a refused connection nothing was sent, and the client tries another process. If a connection breaks, or the
client leaves, the outcome is unknown; a later answer to the same upload may make it known.
"""

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from soak.journal import Journal
from soak.mix import Mix, Plan
from soak.oracle import LOST, Finding, Record, State, contradictions
from soak.services import Service

ANSWER_SECONDS = 120.0
_CLIENTS = 64
_UPLOADS_A_SECOND = 20.0
_ATTEMPTS = 12
_AGAIN_SECONDS = 1.5  # all attempts together take longer than a lease
_LOOK_AGAIN_SECONDS = 0.05
_READS = 0.08  # per upload
_PIECE = 64 * 1024
_BOUNDARY = "the-end-of-a-field-of-the-soak"
# It is unknown whether the upload was recorded (docs/operations.md, The ledger).
_UNKNOWN_CODES = ("ledger_unavailable",)
_IS_ANOTHER = ("key_taken", "idempotency_key_reused")


class GoneError(Exception):
    """The client disconnects, as planned."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`status` 0: no answer came, and the outcome is unknown."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        return str(self.body.get("code", self.status or "no answer"))


class Clients:
    """`records`: what the oracle knows, by number. `findings`: answers that cannot be true."""

    def __init__(
        self, seed: int, mix: Mix, services: Sequence[Service], accounts: Sequence[str], token: str, journal: Journal
    ) -> None:
        self.records: dict[int, Record] = {}
        self.findings: list[Finding] = []
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.deletes = False
        self._mix = mix
        self._services = services
        self._accounts = accounts
        self._journal = journal
        self._chance = random.Random(f"{seed} clients")
        self._headers = {"authorization": f"Bearer {token}"}
        self._deletable: list[Record] = []
        self._readable: list[Record] = []
        self._http: httpx.AsyncClient | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Runs all clients until they are told to stop and have their last answers."""
        # With http: loading certificate authorities takes longer than an upload.
        transport = httpx.AsyncHTTPTransport(verify=False, limits=httpx.Limits(max_connections=None))
        began = time.monotonic()
        http = httpx.AsyncClient(transport=transport, headers=self._headers, timeout=ANSWER_SECONDS)
        async with http as self._http, asyncio.TaskGroup() as group:
            for _ in range(_CLIENTS):
                group.create_task(self._client(began, stop))

    async def _client(self, began: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if len(self.records) >= (time.monotonic() - began) * _UPLOADS_A_SECOND:
                await asyncio.sleep(self._chance.uniform(0.01, 0.1))
                continue
            plan = self._mix.plan()
            await self._upload(plan)
            if self._readable and self._chance.random() < _READS:
                await self._read(self._chance.choice(self._readable))
            if self._deletable and self.deletes and self._chance.random() < 0.5:
                await self._delete(self._deletable.pop(self._chance.randrange(len(self._deletable))))

    # --- uploads

    async def _upload(self, plan: Plan) -> None:
        content = self._mix.content(plan)
        digest = hashlib.sha256(content).hexdigest()
        record = Record(plan.number, plan.name, plan.size, digest, plan.ack, plan.large)
        self.records[plan.number] = record
        way = "form" if plan.form else "PUT"
        self._journal.note(f"{way} {plan.size:,} bytes, ack {plan.ack}, repeatable {plan.idempotent}", plan.number)
        for attempt in range(_ATTEMPTS):
            answer = await self._send(plan, content, leaving=attempt == 0)
            self._learn(record, answer)
            can_be_known = plan.tries_again and (plan.idempotent or not plan.form)
            if record.state is not State.UNKNOWN or not can_be_known:
                break
            await asyncio.sleep(_AGAIN_SECONDS)
        if record.state is State.REFUSED:
            self.refusals[answer.code] += 1
        if record.state is not State.ACKNOWLEDGED:
            return
        if plan.repeats and (plan.idempotent or not plan.form):
            self._learn(record, await self._send(plan, content, leaving=False))
            self.counts["repeated"] += 1
        self._readable.append(record)
        if plan.deletes and self.deletes:
            self._deletable.append(record)

    def _learn(self, record: Record, answer: Answer) -> None:
        """Records what an answer says about the file. A file that was acknowledged once stays acknowledged."""
        self._journal.note(f"answer {answer.status} {answer.code}", record.number)
        if answer.status not in (200, 201, 202):
            if record.state is State.ACKNOWLEDGED and answer.code in _IS_ANOTHER:
                text = f"{record.name}: acknowledged, and its repetition is answered {answer.code}"
                self.findings.append(Finding(LOST, text, None, record.number))
            if record.state in (State.UNDER_WAY, State.REFUSED):
                unknown = answer.status == 0 or answer.code in _UNKNOWN_CODES
                record.state = State.UNKNOWN if unknown else State.REFUSED
            return
        wrong = contradictions(record, answer.status, answer.body, self._accounts)
        for text in wrong:
            self.findings.append(Finding(LOST, f"{record.name}: the receipt says {text}", None, record.number))
        record.key, record.id, record.state = answer.body["key"], answer.body["id"], State.ACKNOWLEDGED
        statuses = {name: outcome["status"] for name, outcome in answer.body["accounts"].items()}
        self._journal.note(f"receipt {record.id} {record.key} {statuses}", record.number)

    async def _send(self, plan: Plan, content: bytes, *, leaving: bool) -> Answer:
        headers = {"upload-ack": plan.ack}
        if plan.idempotent:
            headers["idempotency-key"] = plan.name
        if plan.form:
            method, path = "POST", "/upload"
            headers["content-type"] = f"multipart/form-data; boundary={_BOUNDARY}"
            disposition = f'Content-Disposition: form-data; name="file"; filename="{plan.name}"'
            head = f"--{_BOUNDARY}\r\n{disposition}\r\n\r\n".encode()
            body = head + content + f"\r\n--{_BOUNDARY}--\r\n".encode()
        else:
            method, path, body = "PUT", f"/files/{plan.name}", content
        if not leaving:
            return await self._ask(method, path, plan.number, headers, body)
        try:
            async with asyncio.timeout(plan.waits):
                if plan.leaves is None:
                    return await self._ask(method, path, plan.number, headers, body)
                headers["content-length"] = str(len(body))
                sent = _cut_off(body, int(plan.leaves * len(body)))
                return await self._ask(method, path, plan.number, headers, sent)
        except (TimeoutError, GoneError):
            self.counts["clients that left"] += 1
            return Answer(0, {})

    async def _ask(
        self, method: str, path: str, number: int, headers: dict[str, str], body: bytes | AsyncIterator[bytes] = b""
    ) -> Answer:
        """The answer of a process that listens. Only a refused connection is retried."""
        assert self._http is not None
        while True:
            service = await self._listening()
            self._journal.note(f"{method} to {service.name}", number)
            try:
                answer = await self._http.request(method, service.url + path, content=body, headers=headers)
            except httpx.ConnectError:
                await asyncio.sleep(_LOOK_AGAIN_SECONDS)
                continue
            except httpx.TransportError as error:
                self._journal.note(f"no answer: {error!r}", number)
                return Answer(0, {})
            is_json = "json" in answer.headers.get("content-type", "")
            return Answer(answer.status_code, answer.json() if is_json else {})

    async def _listening(self) -> Service:
        while not (listening := [service for service in self._services if service.listening]):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)  # the threads that start the processes send no event
        return self._chance.choice(listening)

    # --- what was acknowledged

    async def _read(self, record: Record) -> None:
        """Reads an acknowledged file. It may fail while accounts fail; it may not be 404 or return other bytes."""
        assert self._http is not None
        self.counts["read"] += 1
        service = await self._listening()
        try:
            answer = await self._http.get(f"{service.url}/files/{record.key}")
        except httpx.TransportError:
            self.counts["reads without an answer"] += 1
            return
        if record.state is not State.ACKNOWLEDGED:
            return  # deleted meanwhile
        wrong = answer.status_code == 200 and hashlib.sha256(answer.content).hexdigest() != record.sha256
        if wrong or answer.status_code == 404:
            self._journal.note(f"GET from {service.name}: {answer.status_code}, wrong bytes {wrong}", record.number)
            text = f"{record.name}: GET gave {'other bytes' if wrong else '404'}"
            self.findings.append(Finding(LOST, text, None, record.number))
        self.counts["reads refused"] += answer.status_code >= 500

    async def _delete(self, record: Record) -> None:
        """Repeats a DELETE until the outcome is known. A 404 is valid if an earlier DELETE may have been executed."""
        record.state = State.DELETE_UNKNOWN
        if record in self._readable:
            self._readable.remove(record)
        unanswered = False
        for _ in range(_ATTEMPTS):
            answer = await self._ask("DELETE", f"/files/{record.key}", record.number, {})
            self._journal.note(f"answer to DELETE {answer.status} {answer.code}", record.number)
            self.counts[f"DELETE {answer.status or 'no answer'}"] += 1
            if answer.status in (200, 202, 204) or (answer.status == 404 and unanswered):
                record.state = State.DELETED
                return
            if answer.status == 404:
                text = f"{record.name}: acknowledged, and DELETE says 404"
                self.findings.append(Finding(LOST, text, None, record.number))
                return
            unanswered |= answer.status == 0 or answer.code in _UNKNOWN_CODES
            await asyncio.sleep(_AGAIN_SECONDS)


async def _cut_off(body: bytes, at: int) -> AsyncIterator[bytes]:
    for start in range(0, at, _PIECE):
        yield body[start : min(at, start + _PIECE)]
    raise GoneError

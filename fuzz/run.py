"""The run: stores the first files, sends the cases, many at once, and then examines what is left of them."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz import leftovers
from fuzz.answers import Answer
from fuzz.cases import Case, Cases
from fuzz.connections import Exchange
from fuzz.kept import store_kept_files
from fuzz.resources import Held
from fuzz.servicelog import CRASHED, ServiceLog
from fuzz.world import MEMORY_BYTES, World
from soak.examination import Asking, read_all
from soak.oracle import LOST, Finding

HUNG, ODD, UNLOGGED, HOLDS, DEAD = (
    "hung",
    "an answer that is none",
    "answered without a line in the log",
    "does not give back",
    "the service is not well",
)
AT_ONCE = 96
_LOOK_SECONDS = 0.5
_SETTLE_SECONDS = 45.0
# Answers of the HTTP server itself have no id: to invalid HTTP, or to a head that is too large or too slow.
_OF_THE_SERVER = (400, 408, 414, 431, 505)
_MIB = 1024 * 1024
# Beyond what was there before the run: connections to the accounts stay open for the next request, threads for the
# next job.
_MORE_FILES, _MORE_THREADS, _MORE_BYTES = 160, 24, 32 * _MIB

Say = Callable[[str], None]


@dataclass(slots=True)
class Result:
    """The figures of a run."""

    connections: int = 0
    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    mutations: Counter[str] = field(default_factory=Counter)
    endings: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[str, str] = field(default_factory=dict)  # SHA-256 by the id of the file
    findings: list[Finding] = field(default_factory=list)
    before: Held | None = None
    after: Held | None = None
    seconds: float = 0.0
    by_the_server: int = 0  # answers of the server itself; the service never saw the requests
    files: int = 0
    blocked: int = 0
    objects: int = 0


class Run:
    """One run in a world. Each finding is printed at once, and its case is written into `folder`."""

    def __init__(self, world: World, seed: int, folder: Path, say: Say) -> None:
        self._world = world
        self._seed = seed
        self._folder = folder
        self._say = say
        self._log = ServiceLog(world.service.log)
        self._asking = Asking(world.service.url, world.token)
        self._result = Result()
        self._numbers: dict[str, int] = {}  # the number of the case, by the id of its request
        self._answered: Counter[str] = Counter()
        self._cases = Cases(seed, ())

    async def run(self, requests: int, only: int | None) -> Result:
        """Sends this number of requests, or only the case `only`."""
        result = self._result
        began = time.monotonic()
        result.acknowledged = await asyncio.to_thread(store_kept_files, self._asking, self._seed)
        self._cases = Cases(self._seed, list(result.acknowledged))
        result.before = self._world.resources.held()
        over = asyncio.Event()
        watching = asyncio.ensure_future(self._watch(over))
        try:
            numbers = iter((only,)) if only is not None else self._until(requests)
            async with self._world.addresses.pace.keeping(), asyncio.TaskGroup() as clients:
                for _ in range(AT_ONCE):
                    clients.create_task(self._client(numbers))
            if self._world.addresses.pace.failed:
                self._tell(Finding(DEAD, self._world.addresses.pace.failed))
            await self._settle()
        finally:
            over.set()
            await watching
        self._read_log()
        self._compare_with_log()
        result.seconds = time.monotonic() - began
        self._log.close()
        return result

    # --- the cases

    def _until(self, requests: int) -> Iterator[int]:
        number = 0
        while self._result.requests < requests and not self._world.addresses.pace.failed:
            yield number
            number += 1

    async def _client(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            case = self._cases.case(number)
            self._result.connections += 1
            self._result.requests += case.requests
            self._take(await self._world.addresses.exchange(case))

    def _take(self, exchange: Exchange) -> None:
        case, result = exchange.case, self._result
        result.mutations.update(case.mutations)
        result.endings[case.ending.value] += 1
        if exchange.wrong:
            kind = ODD if exchange.wrong.startswith("not HTTP") else HUNG
            where = " of UPLOAD_METRICS_ADDRESS" if case.of_metrics else ""
            self._tell(Finding(kind, f"{exchange.wrong} (the client {case.ending.value}){where}", None, case.number))
        for answer in exchange.answers:
            self._take_answer(case, answer)

    def _take_answer(self, case: Case, answer: Answer) -> None:
        result = self._result
        result.statuses[answer.status] += 1
        if answer.status == 500:
            self._tell(Finding(CRASHED, f"500: {answer.body[:200]!r}", None, case.number))
        if case.of_metrics:
            return
        request_id = answer.request_id
        if request_id is None:
            result.by_the_server += 1
            if answer.status not in _OF_THE_SERVER:
                self._tell(Finding(UNLOGGED, f"{answer.status} without X-Request-Id", None, case.number))
            return
        self._answered[request_id] += 1
        self._numbers.setdefault(request_id, case.number)
        if answer.is_whole and answer.body.startswith(b"{"):
            self._take_body(case, answer)

    def _take_body(self, case: Case, answer: Answer) -> None:
        if not answer.headers.get(b"content-type", b"").startswith((b"application/json", b"application/problem+json")):
            return
        try:
            told: dict[str, Any] = json.loads(answer.body)
        except ValueError:
            self._tell(Finding(ODD, f"{answer.status} with a body that is no JSON", None, case.number))
            return
        if "code" in told:
            self._result.codes[f"{answer.status} {told['code']}"] += 1
        if "url" in told and "sha256" in told:
            self._take_receipt(case, answer, told)

    def _take_receipt(self, case: Case, answer: Answer, receipt: dict[str, Any]) -> None:
        file_id, sha256 = receipt["id"], receipt["sha256"]
        if self._result.acknowledged.setdefault(file_id, sha256) != sha256:
            self._tell(Finding(LOST, f"the file {file_id} is told with another digest than before", None, case.number))
        sent = case.contents.get(answer.request_id or "")
        if sent not in (None, sha256):
            self._tell(Finding(LOST, f"the receipt of {file_id} is of other bytes than were sent", None, case.number))

    # --- during the run

    async def _watch(self, over: asyncio.Event) -> None:
        while not over.is_set():
            self._read_log()
            if self._world.resources.held() is None:
                self._tell(Finding(DEAD, "its process has ended"))
                return
            result = self._result
            self._say(
                f"{result.requests:7,} requests on {result.connections:,} connections, "
                f"{len(result.acknowledged):,} files acknowledged, {len(result.findings)} findings"
            )
            await asyncio.sleep(_LOOK_SECONDS)

    def _read_log(self) -> None:
        for finding in self._log.read():
            self._tell(finding)

    def _tell(self, finding: Finding) -> None:
        """Records a finding once per case and kind, with the bytes of the case."""
        findings = self._result.findings
        if finding.number is not None and any(
            (each.kind, each.number) == (finding.kind, finding.number) for each in findings
        ):
            return
        findings.append(finding)
        if finding.number is not None:
            case = self._cases.case(finding.number)
            (self._folder / f"case-{finding.number}.bin").write_bytes(case.wire)

    # --- after the run

    async def _settle(self) -> None:
        """Asks until everything is right, for as long as the service may need."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            found = [*await asyncio.to_thread(list, self._health()), *self._held()]
            try:
                state = await asyncio.to_thread(
                    leftovers.compare,
                    self._world.accounts,
                    self._asking,
                    list(self._result.acknowledged),
                    self._log.erased,
                )
            except OSError as error:
                state = leftovers.State([Finding(DEAD, f"it does not answer: {error}")])
            found += state.findings
            if not found or time.monotonic() > deadline or self._world.resources.held() is None:
                break
            self._say(f" settling: {len(found)} things are not as they should be, such as {found[0].text}")
            await asyncio.sleep(1)
        found += await asyncio.to_thread(read_all, self._world.accounts, state.expected, lambda _: None)
        for finding in found:
            self._tell(finding)
        self._result.files, self._result.blocked = state.files, state.blocked
        self._result.objects = len(state.expected)
        self._result.after = self._world.resources.held()

    def _health(self) -> Iterator[Finding]:
        for path in ("/_/health", "/_/ready"):
            try:
                status, body = self._asking.ask_once("GET", path)
            except OSError as error:
                yield Finding(DEAD, f"GET {path}: {error}")
            else:
                if status != 200:
                    yield Finding(DEAD, f"GET {path} is {status}: {body[:200]!r}")

    def _held(self) -> Iterator[Finding]:
        before, now = self._result.before, self._world.resources.held()
        if before is None or now is None:
            yield Finding(DEAD, "its process has ended")
            return
        most = before.memory_bytes + MEMORY_BYTES + _MORE_BYTES
        if now.connections:
            yield Finding(HOLDS, f"{now.connections} connections of clients that have gone")
        if now.files > before.files + _MORE_FILES:
            yield Finding(HOLDS, f"{now.files} open files, {before.files} before")
        if now.threads > before.threads + _MORE_THREADS:
            yield Finding(HOLDS, f"{now.threads} threads, {before.threads} before")
        if now.memory_bytes > most:
            yield Finding(HOLDS, f"{now.memory_bytes // _MIB} MiB, {before.memory_bytes // _MIB} before")
        if now.peak_bytes > most + AT_ONCE * _MIB:
            yield Finding(HOLDS, f"{now.peak_bytes // _MIB} MiB at its peak, {before.memory_bytes // _MIB} before")

    def _compare_with_log(self) -> None:
        lines = self._log.lines
        for request_id, count in self._answered.items():
            if lines[request_id] < count:
                text = f"{request_id}: {count} answers and {lines[request_id]} lines"
                self._tell(Finding(UNLOGGED, text, None, self._numbers[request_id]))

"""The check-up of an account: `manage.py accounts --check` tests what the service needs before it goes live.

It does everything once that the service does in an account. A failed check says what is wrong, and names the missing
IAM action if that is the reason; checks that depend on it are `not_asked`. Nothing is left behind, also after an
interruption; an object that cannot be removed is reported by its key.
Leaves to others: the checks (`checks.py`), the requests (`probe.py`), and what a failure means (`diagnosis.py`).
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from file.accounts.checkup import diagnosis
from file.accounts.checkup.checks import CHECKS, METADATA_LOST, Check, Question, WrongAnswerError
from file.accounts.checkup.diagnosis import CLOCK_CODES, CheckResult, CheckState
from file.accounts.checkup.probe import DENIED_CODES, DeniedError, Probe, assuming
from file.logic.errors import AccountError
from file.logic.fanout.containment import crashed
from file.s3 import calls
from file.s3.client import Answer, S3Client
from file.s3.errors import account_error
from file.s3.xml import objects, parse_error

_ALL_DENIED = (
    "nothing at all is allowed there: it is another's, or not there (s3_bucket_name), or no policy is in force"
)
_ANY_REFUSAL = (301, 302, 303, 308, 400, 401, 403, 404)


class CheckUp:
    """The result for one account. `left`: the keys of objects that could not be removed."""

    def __init__(self, client: S3Client, *, pause_seconds: float = 0.5, settle_seconds: float = 2.0) -> None:
        self.account = client.account
        self.left: list[str] = []
        self.interrupted = False
        self.is_usable = True  # False: no setting makes up for what the store lacks
        self._client = client
        self._probe = Probe(client, pause_seconds=pause_seconds, settle_seconds=settle_seconds)
        self._results: dict[str, CheckResult] = {}
        self._progress: Callable[[], None] = lambda: None
        self._ended_by: str | None = None  # after which nothing more is asked
        self._cured: set[str] = set()  # checks that passed once something was left out; what needs them is asked
        self._cures: set[str] = set()
        self._keeps_versions = False  # as it turned out when a check asked as if not

    @property
    def results(self) -> tuple[CheckResult, ...]:
        """The results so far, in the order of `CHECKS`."""
        return tuple(self._results[check] for check in CHECKS if check in self._results)

    @property
    def versioned(self) -> bool | None:
        """Whether the bucket keeps versions; None while this is unknown."""
        return self._probe.versioned

    @property
    def cures(self) -> tuple[str, ...]:
        """The options to set to false in the account's JSON, as found by tests without them."""
        return tuple(sorted(self._cures))

    async def run(self, progress: Callable[[], None] = lambda: None) -> None:
        """`progress` is called after each check. Never raises `AccountError`.

        If it is interrupted, it waits for the request under way, whose result would otherwise be unknown, and removes
        what it made.
        """
        self._progress = progress
        running = asyncio.ensure_future(self._run())
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            self.interrupted = True
            self._ended_by = "an interruption"
            await asyncio.wait((running,))
            raise

    async def _run(self) -> None:
        try:
            await self._ask_first()
            for check in CHECKS.values():
                if check.ask is not None:
                    await self._do(check, check.ask)
                if check.name == "head" and self._probe.loses_metadata:  # what was put is not what was asked for
                    self._tell("put", CheckState.FAILED, METADATA_LOST)
            self._tell_rest()
        finally:
            await self._take_back()

    async def _do(self, check: Check, ask: Question) -> None:
        missing = self._ended_by or next((need for need in check.needs if not self._is_ok(need)), None)
        if missing:
            self._tell(check.name, CheckState.NOT_ASKED, f"because of: {missing}")
            return
        if check.unless and not getattr(self._probe.account, check.unless):
            self._tell(check.name, CheckState.NOT_ASKED, f'"{check.unless}" is false')
            return
        try:
            warning = await ask(self._probe)
        except DeniedError as error:
            self._add(diagnosis.denied(self.account, check, error, self._results))
        except AccountError as error:
            if not await self._is_cured(check, ask, error):
                self._fail(check.name, error)
        except WrongAnswerError as error:
            self._cures |= {error.cure} if error.cure else set()
            self._tell(check.name, CheckState.FAILED, str(error))
        except Exception as error:  # noqa: BLE001 - the check-ups of other accounts go on
            self._fail(check.name, crashed(self.account.name, check.name, error))
        else:
            self._tell(check.name, CheckState.WARNED if warning else CheckState.OK, warning or "")

    async def _is_cured(self, check: Check, ask: Question, error: AccountError) -> bool:
        """Whether the check passes without one of its options. Later checks then omit this option, too."""
        before = self._probe.account
        for change in diagnosis.cures(check, before, error):
            self._probe.assume(replace(before, **change))  # type: ignore[arg-type]
            try:
                await ask(self._probe)
            except (AccountError, WrongAnswerError) as still:
                self._keeps_versions |= isinstance(still, WrongAnswerError) and "versions" in change
                self._probe.assume(before)
            else:
                self._cured.add(check.name)
                self._cures |= set(change)
                self._tell(check.name, CheckState.FAILED, diagnosis.cured(error, list(change)))
                return True
        return False

    def _tell(self, check: str, state: CheckState, detail: str = "") -> None:
        self._add(CheckResult(check, state, detail=detail))

    def _add(self, result: CheckResult) -> None:
        self._results[result.check] = result
        self._progress()

    def _fail(self, check: str, error: AccountError) -> None:
        """Stops after a temporary failure, because the other checks would also fail."""
        if error.retryable:
            self._ended_by = self._ended_by or check
        words, is_usable = diagnosis.failed(self.account, CHECKS[check], error, keeps_versions=self._keeps_versions)
        self.is_usable &= is_usable
        self._tell(check, CheckState.FAILED, words)

    def _is_ok(self, check: str) -> bool:
        return check in self._cured or (check in self._results and self._results[check].is_passed)

    async def _ask_first(self) -> None:
        try:
            answer = await self._first_answer()
        except AccountError as error:
            self._ended_by = "reached"
            self._fail("reached", error)
            return
        said = parse_error(answer.body)
        is_denied = answer.status == 403 and said.code in DENIED_CODES
        if answer.status != 200 and not is_denied:
            region = answer.headers.get("x-amz-bucket-region") or said.region
            self._refuse(account_error(self.account, "probe", answer.status, said.code, region=region))
            return
        for check in ("reached", "region", "credentials"):
            self._tell(check, CheckState.OK)
        if not is_denied:
            self._probe.answered = True
        elif await self._is_of_another_owner():
            self._ended_by = "owner"
            self._tell("bucket", CheckState.OK)
            self._tell("owner", CheckState.FAILED, "the bucket belongs to another than its expected_bucket_owner")

    async def _first_answer(self) -> Answer:
        """The answer to the first question, also a refusal. A wrong clock is reported and corrected."""
        asked = datetime.now(UTC)
        answer = await self._question(*_ANY_REFUSAL)
        self._add(diagnosis.clock(answer.date, asked, datetime.now(UTC)))
        if parse_error(answer.body).code in CLOCK_CODES:
            with suppress(AccountError):  # from a refusal that it is not to tolerate, the client learns the time
                await self._question()
            answer = await self._question(*_ANY_REFUSAL)
        if answer.status == 200:
            self._client.understood("probe", objects, answer)
        return answer

    def _refuse(self, error: AccountError) -> None:
        self._ended_by = check = diagnosis.check_of(error)
        if check != "reached":
            self._tell("reached", CheckState.OK)
        if check == "bucket":  # S3 says so only to credentials that it knows
            self._tell("credentials", CheckState.OK)
        if check not in self._results:
            self._fail(check, error)

    async def _question(self, *tolerate: int, client: S3Client | None = None) -> Answer:
        call = replace(calls.probe(self.account.prefix), tolerate=tolerate)
        return await self._probe.ask(call, (client or self._client).brief)

    async def _is_of_another_owner(self) -> bool:
        """A wrong owner and a missing permission have the same error; without the owner the request is allowed."""
        if self.account.expected_bucket_owner is None:
            return False
        client = assuming(self._client, replace(self.account, expected_bucket_owner=None))
        with suppress(AccountError):
            return (await self._question(403, client=client)).status == 200
        return False

    def _tell_rest(self) -> None:
        """Adds the results that the first question left open, and the checks that were not asked."""
        if self.account.expected_bucket_owner is None:
            self._tell("owner", CheckState.NOT_ASKED, '"expected_bucket_owner" is not set')
        if self._probe.answered:
            for check in ("bucket", "owner"):
                if check not in self._results:
                    self._tell(check, CheckState.OK)
        elif not self._ended_by:
            self._ended_by = "bucket"
            self._tell("bucket", CheckState.FAILED, _ALL_DENIED)
        for check in CHECKS:
            if check not in self._results:
                self._tell(check, CheckState.NOT_ASKED, f"because of: {self._ended_by}")

    async def _take_back(self) -> None:
        left = await self._probe.remove_probes()
        self.left = left or []
        if left is None:
            self._tell("taken back", CheckState.NOT_ASKED, "nothing was made")
        elif not left:
            self._tell("taken back", CheckState.OK)
        else:
            self._tell("taken back", CheckState.FAILED, f"still there, or it may be: {', '.join(left)}")

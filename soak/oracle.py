"""What clients were told about each file, and what the accounts must therefore have.

Pure, and independent of the ledger. The service is asked one thing only: whether an upload with an unknown outcome
exists. Both answers are right, as long as the accounts agree with the answer.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

_LABEL = re.compile(r"soak-(\d{7})\.bin$")
_OF_THE_STORE = ".ready-"  # written by the start of the test server


class State(StrEnum):
    """What the client knows about its upload."""

    UNDER_WAY = "under way"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    DELETED = "deleted"
    DELETE_UNKNOWN = "delete unknown"


@dataclass(slots=True)
class Record:
    """One file. `key` and `id` are known after a receipt."""

    number: int
    name: str
    size: int
    sha256: str
    ack: str
    large: bool
    key: str | None = None
    id: str | None = None
    state: State = State.UNDER_WAY

    @property
    def may_be_there(self) -> bool:
        """The file may exist or not: the client got no answer."""
        return self.state in (State.UNKNOWN, State.DELETE_UNKNOWN)


@dataclass(frozen=True, slots=True)
class Held:
    """A version in an account; `size` None: a delete marker. For an open multipart upload, `version` is its id."""

    key: str
    version: str
    size: int | None
    upload: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation. `number`: the file's number, if the soak uploaded it."""

    kind: str
    text: str
    account: str | None = None
    number: int | None = None


LOST, LEFT = "missing or damaged", "nobody knows"


@dataclass(slots=True)
class Verdict:
    """`expected`: the versions whose bytes are still to be checked, as account, record, version."""

    findings: list[Finding] = field(default_factory=list)
    expected: list[tuple[str, Record, Held]] = field(default_factory=list)

    def of(self, kind: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind == kind]


def number_in(key: str) -> int | None:
    """The number of the file with this key, or None if the soak did not upload it."""
    match = _LABEL.search(key)
    return int(match[1]) if match else None


def judge(records: Mapping[int, Record], held: Mapping[str, Sequence[Held]], told: Collection[int]) -> Verdict:
    """Compares. `held`: the content of each account; `told`: files of unknown outcome that the service says it has."""
    verdict = Verdict()
    found: dict[str, dict[int, list[Held]]] = {}
    for account, versions in held.items():
        found[account] = {}
        for version in versions:
            number = number_in(version.key)
            if version.key.startswith(_OF_THE_STORE):
                continue
            if number is not None and number in records and not version.upload and version.size is not None:
                found[account].setdefault(number, []).append(version)
            else:
                marker = "an object that was never sent" if version.size is not None else "a delete marker"
                what = "an open multipart upload" if version.upload else marker
                verdict.findings.append(_left(account, version, what, number))
    for record in records.values():
        for account in held:
            _judge_one(verdict, record, account, found[account].get(record.number, []), record.number in told)
    return verdict


def _judge_one(verdict: Verdict, record: Record, account: str, versions: Sequence[Held], told: bool) -> None:
    expected = record.state is State.ACKNOWLEDGED or (record.may_be_there and told)
    if not expected:
        why = f"{record.state} file" if not record.may_be_there else "file of unknown outcome that GET does not know"
        verdict.findings += [_left(account, version, f"a version of a {why}", record.number) for version in versions]
        return
    if not versions:
        verdict.findings.append(Finding(LOST, f"{record.name} is missing", account, record.number))
        return
    first, *others = versions
    verdict.findings += [_left(account, version, "a second version", record.number) for version in others]
    if record.key not in (None, first.key):
        verdict.findings.append(_left(account, first, f"not the key that was told, {record.key}", record.number))
    elif first.size != record.size:
        text = f"{record.name} has {first.size:,} bytes, not {record.size:,}"
        verdict.findings.append(Finding(LOST, text, account, record.number))
    else:
        verdict.expected.append((account, record, first))


def _left(account: str, version: Held, what: str, number: int | None) -> Finding:
    return Finding(LEFT, f"{version.key} ({version.version}): {what}", account, number)


def contradictions(record: Record, status: int, receipt: Mapping[str, object], accounts: Iterable[str]) -> list[str]:
    """Statements in the receipt of a success that cannot be true."""
    outcomes = receipt["accounts"]
    assert isinstance(outcomes, Mapping)
    stored = {name for name, outcome in outcomes.items() if outcome["status"] == "stored"}
    names = set(accounts)
    wanted = {"all": len(names), "quorum": len(names) // 2 + 1, "any": 1}[record.ack]
    wrong = []
    if (receipt["size"], receipt["sha256"]) != (record.size, record.sha256):
        wrong.append(f"size or digest of other bytes: {receipt['size']} {receipt['sha256']}")
    if set(outcomes) != names:
        wrong.append(f"accounts {sorted(outcomes)}, not {sorted(names)}")
    if (status == 201 and stored != names) or len(stored) < wanted:
        wrong.append(f"{status} for ack {record.ack}, stored in {sorted(stored)} only")
    if record.id not in (None, receipt["id"]):
        wrong.append(f"another id than before: {receipt['id']}, not {record.id}")
    return wrong

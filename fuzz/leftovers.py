"""After a run: compares the content of the accounts (asked with boto3) with what the service says.

No object may exist that the ledger does not know, no multipart upload may be open, and each acknowledged file must be
whole in every account that its receipt calls `stored`.
"""

import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from soak.examination import Asking, list_account
from soak.oracle import LEFT, LOST, Finding, Held, Record
from testkit.account import StoreAccount

UNFINISHED = "not done in the end"
_OF_THE_STORE = ".ready-"  # written by the start of the test server
_SLASHES = re.compile("/{2,}")


@dataclass(slots=True)
class State:
    """`expected`: the versions whose bytes are still to be checked."""

    findings: list[Finding] = field(default_factory=list)
    expected: list[tuple[str, Record, Held]] = field(default_factory=list)
    blocked: int = 0
    files: int = 0


def compare(
    accounts: Mapping[str, StoreAccount], asking: Asking, acknowledged: Iterable[str], erased: set[str]
) -> State:
    """`acknowledged`: ids of files that an answer acknowledged; `erased`: ids of files that a DELETE erased."""
    with ThreadPoolExecutor(len(accounts)) as lookers:
        held = dict(zip(accounts, lookers.map(list_account, accounts.values()), strict=True))
    files = {
        file["id"]: file for file in asking.files()
    }  # asked after the accounts, so that a file stored meanwhile is in both
    state = State(files=len(files))
    for account, versions in held.items():
        _compare_account(state, account, versions, files, asking)
    for file_id in set(acknowledged) - files.keys() - erased:
        text = f"the file {file_id} was acknowledged, and nothing tells of it"
        state.findings.append(Finding(LOST, text))
    return state


def _compare_account(
    state: State, account: str, versions: Iterable[Held], files: Mapping[str, dict[str, Any]], asking: Asking
) -> None:
    found: dict[str, list[Held]] = {}
    misplaced = {file["size"] for file in files.values() if _is_misplaced(file["key"])}
    for version in versions:
        if version.key.startswith(_OF_THE_STORE):
            continue
        if version.upload or version.size is None:
            what = "an open multipart upload" if version.upload else "a delete marker"
            state.findings.append(Finding(LEFT, f"{version.key} ({version.version}): {what}", account))
        else:
            found.setdefault(_plain(version.key), []).append(version)
    for file in files.values():
        if _is_misplaced(file["key"]):
            continue
        there = found.get(_plain(file["key"]), [])
        match = next((version for version in there if version.size == file["size"]), None)
        if match is None:
            _judge_missing(state, account, file, asking)
        else:
            there.remove(match)
            record = Record(0, file["key"], file["size"], file["sha256"], ack="", large=False)
            state.expected.append((account, record, match))
    for version in (version for versions in found.values() for version in versions):
        if version.size in misplaced or (misplaced and version.key.endswith("/") and not version.size):
            continue  # the other is the folder that the test server makes for this file
        text = f"{version.key!r} ({version.version}, {version.size:,} bytes): the ledger does not know it"
        state.findings.append(Finding(LEFT, text, account))


def _judge_missing(state: State, account: str, file: Mapping[str, Any], asking: Asking) -> None:
    """A missing object is right if the client left the account out, or the account refuses the key permanently."""
    receipt = asking.receipt(file["id"])
    outcome = (receipt or {}).get("accounts", {}).get(account)
    if receipt is None or outcome is None or "key" not in receipt:
        return  # erased meanwhile, or not placed in this account
    if outcome["status"] == "blocked":
        state.blocked += 1
    elif outcome["status"] == "stored":
        state.findings.append(Finding(LOST, f"{file['key']!r} is missing", account))
    else:
        state.findings.append(Finding(UNFINISHED, f"{file['key']!r} is {outcome['status']}", account))


def _plain(key: str) -> str:
    """The key as the test server lists it: `a/b` for `//a//b`."""
    return _SLASHES.sub("/", key).strip("/")


def _is_misplaced(key: str) -> bool:
    r"""Whether the test server stores the key elsewhere: a backslash becomes a slash, and `a\` is put under `a/a`."""
    return "\\" in key

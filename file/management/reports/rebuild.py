"""What `manage.py ledger rebuild` tells: the findings as one object, or as lines for a person."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from file.audit.inventory import AccountFindings, Findings
from file.ledger.installations import NO_INSTALLATION


def is_right(findings: Findings) -> bool:
    """Everything of ours is restored, and what is another installation's is not all that there is."""
    return findings.is_whole and not _is_lost(findings) and not _is_behind(findings)


def as_json(findings: Findings) -> dict[str, Any]:
    """Strangers and problems are counted all, and listed up to a limit."""
    return {
        "restored": {"stored": findings.stored, "partial": findings.partial},
        "known": findings.known,
        "settled": findings.settled,
        "left_alone": findings.left_alone,
        "hashed": findings.hashed,
        "strangers": {
            "count": sum(account.strangers for account in findings.accounts.values()),
            "first": [{"account": account, "object_key": key} for account, key in findings.strangers],
        },
        "other_installations": findings.others,
        "unknown_accounts": {
            "not_restored": findings.unknown_accounts,
            "restored_without": findings.without_accounts,
            "none_known": findings.foreign,
        },
        "problems": {"count": findings.problem_count, "first": [asdict(problem) for problem in findings.problems]},
        "accounts": {name: _account(account) for name, account in sorted(findings.accounts.items())},
    }


def as_lines(findings: Findings, *, dry_run: bool) -> Iterator[str]:
    """What was done first; what is wrong last, where it is seen."""
    verb = "Would restore" if dry_run else "Restored"
    yield (
        f"{verb} {findings.stored + findings.partial} files, {findings.partial} of them partial; "
        f"{findings.known} were known, {findings.settled} of their pending replicas are there; "
        f"{findings.left_alone} being received, erased or given up were left alone; "
        f"{findings.hashed} read for their digests."
    )
    for name, account in sorted(findings.accounts.items()):
        yield (
            f"{name}: {account.objects} objects, {account.ours} ours, {account.strangers} strangers', "
            f"{account.missing} missing."
        )
    for problem in findings.problems:
        where = f"{problem.account}: " if problem.account else ""
        yield f"Not restored: {where}{problem.key!r} ({problem.code}): {problem.detail}"
    if findings.problem_count > len(findings.problems):
        yield f"Not restored: {findings.problem_count - len(findings.problems)} more."
    for installation, count in sorted(findings.others.items()):
        whose = (
            "carry no installation's id" if installation == NO_INSTALLATION else f"are of installation {installation}"
        )
        yield f"{count} objects {whose}, and were left alone. If they are yours: ledger rebuild --adopt {installation}"
    yield from _about_unknown_accounts(findings, verb)
    if _is_behind(findings):
        yield (
            f"{findings.received} files are being received, or were when this copy of the ledger was made. The ledger "
            "is older than what lies in the accounts: stop the service, and run: ledger rebuild --older-copy"
        )
    if _is_lost(findings):
        yield "The ledger knows no file, and nothing of its own lies in the accounts: say which objects are yours."
    for name, account in sorted(findings.accounts.items()):
        if account.error is not None:
            yield f"Not listed to its end: {name} ({account.error.code}): {account.error.detail}"


def _about_unknown_accounts(findings: Findings, verb: str) -> Iterator[str]:
    """Objects name accounts by hashes only, so that their names cannot be told."""
    if findings.foreign:
        yield (
            f"{findings.foreign} files name no account that is known here. They were written with another SECRET_KEY: "
            "put it into SECRET_KEY_FALLBACKS. Or all their accounts had other names: say them with --former-account."
        )
    if findings.without_accounts:
        yield (
            f"{verb} {findings.without_accounts} of these files without an account that they name and that is not "
            "known here: the copy that it lacks is not brought again."
        )
    if findings.unknown_accounts:
        yield (
            f"Not restored: {findings.unknown_accounts} files that name an account that is not known here, and lack a "
            "copy. If an account was renamed or removed, say its former name with --former-account. To restore these "
            "files without that copy: --without-unknown-accounts"
        )


def _is_lost(findings: Findings) -> bool:
    """As it looks when the ledger was lost, and nothing was adopted."""
    ours = findings.stored + findings.partial + findings.known + findings.left_alone + findings.problem_count
    ours += findings.unknown_accounts
    return bool(findings.others) and not ours


def _is_behind(findings: Findings) -> bool:
    """Files that are received keep the mark of an older ledger: they may have been acknowledged since."""
    return findings.behind_at is not None and bool(findings.received)


def _account(account: AccountFindings) -> dict[str, Any]:
    error = account.error
    return {
        "objects": account.objects,
        "ours": account.ours,
        "strangers": account.strangers,
        "missing": account.missing,
        "error": None if error is None else {"code": error.code, "detail": error.detail},
    }

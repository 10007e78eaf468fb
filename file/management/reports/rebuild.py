"""What `manage.py ledger rebuild` reports: the findings as one object, or as lines."""

from collections.abc import Iterator
from typing import Any

from file.audit.findings import AccountFindings, Finding, RebuildFindings
from file.ledger.installations import NO_INSTALLATION


def is_right(findings: RebuildFindings) -> bool:
    """All our files are restored, and there are not only objects of other installations."""
    return findings.is_whole and not _is_lost(findings) and not _is_behind(findings)


def as_json(findings: RebuildFindings) -> dict[str, Any]:
    """All unknown objects and problems are counted; the first ones are listed."""
    return {
        "restored": {"stored": findings.stored, "partial": findings.partial},
        "known": findings.known,
        "settled": findings.settled,
        "left_alone": findings.left_alone,
        "hashed": findings.hashed,
        "strangers": {
            "count": findings.unknown_count,
            "first": [{"account": found.account, "object_key": found.object_key} for found in findings.unknown],
        },
        "other_installations": findings.others,
        "unknown_accounts": {
            "not_restored": findings.unknown_accounts,
            "restored_without": findings.without_accounts,
            "none_known": findings.foreign,
        },
        "problems": {"count": findings.problem_count, "first": [_problem(problem) for problem in findings.problems]},
        "accounts": {name: _account(account) for name, account in sorted(findings.accounts.items())},
    }


def as_lines(findings: RebuildFindings, *, dry_run: bool) -> Iterator[str]:
    """First what was done; problems last, where they are seen."""
    verb = "Would restore" if dry_run else "Restored"
    yield (
        f"{verb} {findings.stored + findings.partial} files, {findings.partial} of them partial. "
        f"{findings.known} files were known; {findings.settled} of their pending replicas are there. "
        f"{findings.left_alone} files that are being received or erased, or were given up, are unchanged. "
        f"{findings.hashed} objects were read for their digests."
    )
    for name, account in sorted(findings.accounts.items()):
        yield (
            f"{name}: {account.objects} objects, {account.ours} ours, {account.unknown} unknown, "
            f"{account.missing} missing."
        )
    for problem in findings.problems:
        where = f"{problem.account}: " if problem.account else ""
        yield f"Not restored: {where}{problem.key!r} ({problem.code}): {problem.detail}"
    if findings.problem_count > len(findings.problems):
        yield f"Not restored: {findings.problem_count - len(findings.problems)} more."
    for installation, count in sorted(findings.others.items()):
        whose = "name no installation" if installation == NO_INSTALLATION else f"are of installation {installation}"
        yield f"{count} objects {whose}; they are unchanged. If they are yours: ledger rebuild --adopt {installation}"
    yield from _about_unknown_accounts(findings, verb)
    if _is_behind(findings):
        yield (
            f"{findings.received} files are being received, or were when this copy of the ledger was made. The ledger "
            "is older than the objects in the accounts. Stop the service, and run: ledger rebuild --older-copy"
        )
    if _is_lost(findings):
        yield "The ledger knows no file, and no object in the accounts is its own. Say with --adopt which are yours."
    for name, account in sorted(findings.accounts.items()):
        if account.error is not None:
            yield f"Not listed completely: {name} ({account.error.code}): {account.error.detail}"


def as_progress(findings: RebuildFindings) -> tuple[str, None]:
    objects = sum(account.objects for account in findings.accounts.values())
    return (
        f"{objects} objects, {findings.stored + findings.partial} files restored, {findings.hashed} objects read",
        None,
    )


def _about_unknown_accounts(findings: RebuildFindings, verb: str) -> Iterator[str]:
    """Objects name accounts by hashes, so their names are not known here."""
    if findings.foreign:
        yield (
            f"{findings.foreign} files name no account that is known here. If another SECRET_KEY wrote them, put it "
            "into SECRET_KEY_FALLBACKS. If all their accounts had other names, use --former-account."
        )
    if findings.without_accounts:
        yield (
            f"{verb} {findings.without_accounts} files without an account that they name and that is not known here. "
            "Their missing copy in that account is not copied again."
        )
    if findings.unknown_accounts:
        yield (
            f"Not restored: {findings.unknown_accounts} files that name an account that is not known here, and lack a "
            "copy. If an account was renamed or removed, give its former name with --former-account. To restore these "
            "files without that copy, use --without-unknown-accounts."
        )


def _is_lost(findings: RebuildFindings) -> bool:
    """The ledger was lost, and no installation was adopted."""
    ours = findings.stored + findings.partial + findings.known + findings.left_alone + findings.problem_count
    ours += findings.unknown_accounts
    return bool(findings.others) and not ours


def _is_behind(findings: RebuildFindings) -> bool:
    """Files that were being received may have been acknowledged since; they keep the mark of an older ledger."""
    return findings.behind_at is not None and bool(findings.received)


def _problem(problem: Finding) -> dict[str, Any]:
    return {name: getattr(problem, name) or "" for name in ("code", "key", "file_id", "account", "detail")}


def _account(account: AccountFindings) -> dict[str, Any]:
    error = account.error
    return {
        "objects": account.objects,
        "ours": account.ours,
        "strangers": account.unknown,
        "missing": account.missing,
        "error": None if error is None else {"code": error.code, "detail": error.detail},
    }

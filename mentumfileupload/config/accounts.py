"""From the environment's `AWS_ACCOUNT_*` to accounts: reads their JSON, and says what is wrong with it.

Promises: every fault is one line that names the variable and the key, and never a value, for values are secrets; all
faults are told at once; nothing is guessed, so an account with a fault is left out. `AWS_ACCOUNT_<NAME>_FILE` names a
file that holds the same JSON, so a name never ends in `_FILE`. Whether an account takes a file is for S3 to say:
`Bucket.probe` asks it. Knows neither Django nor the process's environment: both arrive as arguments.
"""

import dataclasses
import difflib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from file.logic.accounts.endpoints import bucket_place, region_doubt
from file.logic.values import Account
from mentumfileupload.config.accountrules import rule_faults
from mentumfileupload.config.platformvariables import is_about_an_account, is_service_link

PREFIX = "AWS_ACCOUNT_"
FILE_SUFFIX = "_FILE"
# The AWS SDK's own variables. Their names are no account's names, with or without `_FILE`.
SDK_NAMES = frozenset({"ID", "ID_ENDPOINT_MODE"})

KEYS = tuple(field.name for field in dataclasses.fields(Account) if field.name != "name")
REQUIRED_KEYS = tuple(
    field.name for field in dataclasses.fields(Account) if field.name != "name" and field.default is dataclasses.MISSING
)
YES_OR_NO_KEYS = frozenset({"allow_http", "conditional_writes", "checksums", "versions"})

_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
# What may be repeated in a fault: a word that looks like a key. A secret pasted into the wrong place does not.
_SHOWABLE_KEY = re.compile(r"[A-Za-z][A-Za-z_-]{0,30}", re.ASCII)


class _Fault(Exception):  # noqa: N818 - the house's word for it
    """Why a text could not be read, as the end of a sentence that begins with the variable's name."""


def read_accounts(
    environment: Mapping[str, str], read_file: Callable[[str], str]
) -> tuple[tuple[Account, ...], tuple[str, ...]]:
    """All accounts that `environment` describes, by name, and a line for each fault."""
    faults: list[str] = []
    texts = _find_texts(environment, read_file, faults)
    faults += [
        f"{variable}: looks like an account, but its name does not begin with {PREFIX}"
        for variable, text in sorted(environment.items())
        if '"access_key_id"' in text and not variable.startswith(PREFIX)
    ]
    accounts, described = [], []
    for name, (variable, text) in sorted(texts.items()):
        account, reasons = _read_account(name, text)
        faults += [f"{variable}: {reason}" for reason in reasons]
        if account:
            described.append(account)
            if not reasons:
                accounts.append(account)
    faults += _shared_buckets(described)
    if not texts and not faults:
        faults.append(f"{PREFIX}<NAME>: no account is set; at least one is needed (docs/settings.md shows how)")
    return tuple(accounts), tuple(faults)


def doubts(accounts: Iterable[Account]) -> tuple[str, ...]:
    """A line for everything that is no fault and probably a mistake; like a fault it shows no value."""
    return tuple(
        f"{PREFIX}{account.name}: the key 'region_name' {doubt}"
        for account in accounts
        if (doubt := region_doubt(account)) is not None
    )


def is_of_the_platform(variable: str, environment: Mapping[str, str]) -> bool:
    """Whether a variable that begins with `AWS_ACCOUNT_` was set by the platform, and is no account."""
    ending, value = variable.removeprefix(PREFIX), without_outer_quotes(environment[variable])
    if ending in SDK_NAMES:
        return "{" not in value
    if ending.endswith(FILE_SUFFIX):
        return False
    return is_about_an_account(ending, value) or is_service_link(variable, environment)


def without_outer_quotes(text: str) -> str:
    """`text` as django-environ reads it from a .env file: docker's --env-file leaves the quotes around a value."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", lambda found: found[0] if found[1] in "rnt" else found[1], text[1:-1])
    return text


def read_json_object(text: str) -> dict[str, Any]:
    """The JSON object in `text`. Raises ValueError with a reason that shows none of it but a key's name."""

    def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Fault(f"{show_key(key)} stands there twice")
            seen.add(key)
        return dict(pairs)

    try:
        found = json.loads(without_outer_quotes(text), object_pairs_hook=without_repetition)
    except _Fault as fault:
        raise ValueError(str(fault)) from None
    except json.JSONDecodeError as error:
        # What stands behind a colon in the decoder's message would be a piece of the value.
        reason = error.msg.partition(":")[0]
        raise ValueError(f"not valid JSON at line {error.lineno} column {error.colno} ({reason})") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON that can be read (a number too long, or too deeply nested)") from None
    if isinstance(found, dict):
        return found
    raise ValueError("must be a JSON object, in braces")


def show_key(key: str) -> str:
    return f"the key {key!r}" if _SHOWABLE_KEY.fullmatch(key) else "a key (not shown: it does not look like one)"


def nearest(word: str, known: Iterable[str]) -> str:
    return difflib.get_close_matches(word, list(known), n=1, cutoff=0.0)[0]


def _find_texts(
    environment: Mapping[str, str], read_file: Callable[[str], str], faults: list[str]
) -> dict[str, tuple[str, str]]:
    """Account name -> (the variable that says it, its JSON). A name whose text cannot be had is left out."""
    texts: dict[str, tuple[str, str]] = {}
    spellings: dict[str, str] = {}
    for variable in sorted(environment):
        ending = variable.removeprefix(PREFIX)
        if ending == variable or is_of_the_platform(variable, environment):
            continue
        in_file = ending.endswith(FILE_SUFFIX)
        name = ending.removesuffix(FILE_SUFFIX)
        try:
            _check_name(name)
            other = spellings.setdefault(name.upper(), variable)
            if other != variable:
                raise _Fault(f"describes the same account as {other}; keep one of them")
            value = environment[variable]
            if not value.strip():
                raise _Fault("is empty")
            texts[name] = variable, _read_named_file(value.strip(), read_file) if in_file else value
        except _Fault as fault:
            faults.append(f"{variable}: {fault}")
    return texts


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise _Fault("an account's name is made of letters A-Z, digits and _")
    if name in SDK_NAMES:
        raise _Fault(f"{PREFIX}{name} is the AWS SDK's own variable; give the account another name")
    if name.endswith(FILE_SUFFIX):
        raise _Fault(f"an account's name cannot end in {FILE_SUFFIX}")


def _read_named_file(path: str, read_file: Callable[[str], str]) -> str:
    if without_outer_quotes(path).startswith("{"):
        raise _Fault(f"must name a file that holds the JSON; an account's name cannot end in {FILE_SUFFIX}")
    try:
        text = read_file(without_outer_quotes(path))
    except OSError as error:
        raise _Fault(f"the file cannot be read ({error.strerror or type(error).__name__})") from None
    except ValueError:
        raise _Fault("the file cannot be read (it is not UTF-8 text, or its name is impossible)") from None
    if not text.strip():
        raise _Fault("the file is empty")
    return text


def _read_account(name: str, text: str) -> tuple[Account | None, list[str]]:
    """What the JSON says, if it has every key that it needs and each is of its type; and what is wrong with it."""
    try:
        found = read_json_object(text)
    except ValueError as error:
        return None, [str(error)]
    reasons = [f"the key {key!r} is missing" for key in REQUIRED_KEYS if key not in found]
    for key, value in found.items():
        if key not in KEYS:
            reasons.append(f"{show_key(key)} is unknown; the nearest known one is {nearest(key, KEYS)!r}")
        elif reason := _type_fault(key, value):
            reasons.append(f"the key {key!r} {reason}")
    if reasons:
        return None, reasons
    account = Account(name=name, **found)
    return account, [f"the key {key!r} {reason}" for key, reason in rule_faults(account)]


def _type_fault(key: str, value: object) -> str | None:
    if key in YES_OR_NO_KEYS:
        return None if isinstance(value, bool) else "must be true or false, without quotes"
    if not isinstance(value, str):
        return "must be text, in double quotes"
    return None if value.strip() else "is empty"


def _shared_buckets(accounts: Iterable[Account]) -> list[str]:
    """Two accounts with one bucket would be one copy that counts as two."""
    names = defaultdict(list)
    for account in accounts:
        with suppress(ValueError):  # an endpoint_url that cannot be read is a fault already
            names[bucket_place(account)].append(account.name)
    return [
        f"{PREFIX}{others[-1]}: the key 's3_bucket_name' names the same bucket as {PREFIX}{others[0]}"
        for first, *rest in names.values()
        for others in ((first, other) for other in rest)
    ]

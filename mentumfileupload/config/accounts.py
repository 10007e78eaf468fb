"""From the variables `AWS_ACCOUNT_<NAME>` to accounts: reads their JSON, and says what is wrong with it.

Promises: each fault is one line that names the variable and the key, and never a value, because values are secrets; all
faults are reported together; an account with a fault is left out. `AWS_ACCOUNT_<NAME>_FILE` names a file that holds the
same JSON, so the name of an account never ends in `_FILE`. Leaves to others: which values an account may have
(`accountrules.py`), and whether the account works (`manage.py accounts --check`).
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress

from file.logic.accounts.endpoints import bucket_place, region_doubt
from file.logic.values import Account
from mentumfileupload.config.accountrules import rule_faults
from mentumfileupload.config.platformvariables import is_about_an_account, is_service_link
from mentumfileupload.config.texts import Fault, nearest, read_json_object, show_key, without_outer_quotes

PREFIX = "AWS_ACCOUNT_"
FILE_SUFFIX = "_FILE"
# Variables of the AWS SDK. An account cannot have their names, with or without `_FILE`.
SDK_NAMES = frozenset({"ID", "ID_ENDPOINT_MODE"})

# The keys of the JSON, each with its default.
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Account) if field.name != "name"}
KEYS = tuple(_DEFAULTS)
REQUIRED_KEYS = tuple(key for key, default in _DEFAULTS.items() if default is dataclasses.MISSING)

_NAME = re.compile(r"[A-Za-z0-9_]+", re.ASCII)


def read_accounts(
    environment: Mapping[str, str], read_file: Callable[[str], str]
) -> tuple[tuple[Account, ...], tuple[str, ...]]:
    """All accounts that `environment` describes, by name, and a line for each fault."""
    faults: list[str] = []
    texts = _find_texts(environment, read_file, faults)
    faults += [
        f"{variable}: looks like an account, but the name of its variable does not begin with {PREFIX}"
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
        faults.append(f"{PREFIX}<NAME>: no account is set, and at least one is needed (docs/settings.md shows how)")
    return tuple(accounts), tuple(faults)


def doubts(accounts: Iterable[Account]) -> tuple[str, ...]:
    """A line for each value that is no fault, but probably a mistake. Like a fault, it shows no value."""
    return tuple(
        f"{PREFIX}{account.name}: the key 'region_name' {doubt}"
        for account in accounts
        if (doubt := region_doubt(account)) is not None
    )


def is_of_the_platform(variable: str, environment: Mapping[str, str]) -> bool:
    """Whether the platform set a variable that begins with `AWS_ACCOUNT_`, so that it is no account."""
    ending, value = variable.removeprefix(PREFIX), without_outer_quotes(environment[variable])
    if ending in SDK_NAMES:
        return "{" not in value
    if ending.endswith(FILE_SUFFIX):
        return False
    return is_about_an_account(ending, value) or is_service_link(variable, environment)


def _find_texts(
    environment: Mapping[str, str], read_file: Callable[[str], str], faults: list[str]
) -> dict[str, tuple[str, str]]:
    """Account name -> (its variable, its JSON). A name whose JSON cannot be read is left out."""
    texts: dict[str, tuple[str, str]] = {}
    spellings: dict[str, str] = {}
    for variable in sorted(environment):
        ending = variable.removeprefix(PREFIX)
        if ending == variable or is_of_the_platform(variable, environment):
            continue
        name = ending.removesuffix(FILE_SUFFIX)
        try:
            _check_name(name)
            other = spellings.setdefault(name.upper(), variable)
            if other != variable:
                raise Fault(f"describes the same account as {other}; keep one of them")
            value = environment[variable]
            if not value.strip():
                raise Fault("is empty")
            texts[name] = variable, value if name == ending else _read_named_file(value.strip(), read_file)
        except Fault as fault:
            faults.append(f"{variable}: {fault}")
    return texts


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Fault("the name of an account may only have letters (A-Z, a-z), digits and _")
    if name in SDK_NAMES:
        raise Fault(f"{PREFIX}{name} is a variable of the AWS SDK; give the account another name")
    if name.endswith(FILE_SUFFIX):
        raise Fault(f"the name of an account cannot end in {FILE_SUFFIX}")


def _read_named_file(path: str, read_file: Callable[[str], str]) -> str:
    if without_outer_quotes(path).startswith("{"):
        raise Fault(f"must be the path of a file with the JSON; the name of an account cannot end in {FILE_SUFFIX}")
    try:
        text = read_file(without_outer_quotes(path))
    except OSError as error:
        raise Fault(f"the file cannot be read ({error.strerror or type(error).__name__})") from None
    except ValueError:
        raise Fault("the file cannot be read (its text is not UTF-8, or its path is impossible)") from None
    if not text.strip():
        raise Fault("the file is empty")
    return text


def _read_account(name: str, text: str) -> tuple[Account | None, list[str]]:
    """The account, if each required key is there and each key has its type; and what is wrong with it."""
    try:
        found = read_json_object(text)
    except Fault as fault:
        return None, [str(fault)]
    reasons = [f"the key {key!r} is missing" for key in REQUIRED_KEYS if key not in found]
    for key, value in found.items():
        if key not in KEYS:
            reasons.append(f"{show_key(key)} is unknown; did you mean {nearest(key, KEYS)!r}?")
        elif reason := _type_fault(key, value):
            reasons.append(f"the key {key!r} {reason}")
    if reasons:
        return None, reasons
    account = Account(name=name, **found)
    return account, [f"the key {key!r} {reason}" for key, reason in rule_faults(account)]


def _type_fault(key: str, value: object) -> str | None:
    if isinstance(_DEFAULTS[key], bool):
        return None if isinstance(value, bool) else "must be true or false, without quotes"
    if not isinstance(value, str):
        return "must be text, in double quotes"
    return None if value.strip() else "is empty"


def _shared_buckets(accounts: Iterable[Account]) -> list[str]:
    """Two accounts with the same bucket are a fault: one copy would count as two."""
    names = defaultdict(list)
    for account in accounts:
        with suppress(ValueError):  # an endpoint_url that cannot be read is a fault already
            names[bucket_place(account)].append(account.name)
    return [
        f"{PREFIX}{other}: the key 's3_bucket_name' names the same bucket as {PREFIX}{first}"
        for first, *rest in names.values()
        for other in rest
    ]

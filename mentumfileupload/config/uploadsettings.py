"""Every setting, in one table, and what comes of it: a frozen `UploadSettings`, and the faults, one line each.

Promises: a wrong value raises nothing (`checks.py` reports the fault, and the default is used); a fault names the
variable and never its value; an empty value means the default. docs/settings.md has the same table, and a test compares
them. Leaves to others: the environment, which is an argument (`settings.py` reads it), the forms of values
(`settingvalues.py`), and accounts (`accounts.py`).

A new setting is a row here, a field of `UploadSettings` or `Limits`, and a row of docs/settings.md.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from file.logic.values import Limits
from file.service.settings import UploadSettings
from mentumfileupload import __version__
from mentumfileupload.config import settingvalues as value
from mentumfileupload.config.accounts import PREFIX as ACCOUNT_PREFIX
from mentumfileupload.config.accounts import SDK_NAMES, is_of_the_platform, read_accounts
from mentumfileupload.config.platformvariables import is_service_link
from mentumfileupload.config.texts import Fault, nearest, read_text_file, without_outer_quotes

PREFIX = "UPLOAD_"
_LISTED = 4  # names in one line
_HOSTS_OF_DEBUG = (".localhost", "127.0.0.1", "[::1]")  # Django's own, for its pages
_CEILINGS: dict[str, float] = {
    "bytes": 2**50,
    "bytes a second": 2**40,
    "seconds": 86_400,
    "uploads": 100_000,
    "requests": 10_000,
    "files": 10_000_000,
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A row of the table.

    `read` makes the value of a text that is not empty. `default` is a text, as in a .env file; where it is empty,
    `unset` is the value. `attribute` is the field of `UploadSettings`, `Limits` or `ProjectSettings` that gets the
    value; without it the field is called as the setting is. `after_fault` makes the value of a text that has a fault,
    if that is not the default. `minimum` and `maximum` are for numbers.
    """

    name: str
    read: Callable[[str], Any]
    default: str
    unit: str
    help: str
    unset: Any = None
    after_fault: Callable[[str], Any] | None = None
    attribute: str = ""
    minimum: float | None = None
    maximum: float | None = None

    @property
    def field(self) -> str:
        return self.attribute or self.name.removeprefix(PREFIX).lower()


def _number(name: str, default: str, unit: str, minimum: float, help: str, attribute: str = "") -> Setting:
    maximum = _CEILINGS[unit]
    read: Callable[[str], float] = (
        value.seconds(minimum, maximum) if unit == "seconds" else value.whole(minimum, maximum, unit)
    )
    return Setting(name, read, default, unit, help, attribute=attribute, minimum=minimum, maximum=maximum)


# fmt: off
TABLE = (
    Setting("DEBUG", value.truth, "false", "true or false",
            "Debug capabilities, for as long as the service is not in production."),
    Setting("SECRET_KEY", value.secret_key, "", "text",
            "Django's key for what it signs; needed when `DEBUG` is off.", after_fault=str),
    Setting("SECRET_KEY_FALLBACKS", value.texts, "", "JSON",
            "Former keys, as an array. What was made with them stays valid.", unset=(), attribute="former_secret_keys"),
    Setting("ALLOWED_HOSTS", value.hosts, "", "list",
            "Host names of the service: for Django's pages, and without tokens for the API too.", unset=()),
    Setting("DATABASE_URL", value.database, "sqlite:///mentum.sqlite3", "URL",
            "The ledger: `sqlite:///` or `postgres://`.", attribute="database",
            after_fault=lambda text: {}),  # Django refuses to use it; the default would be another ledger
    Setting("CORS_ORIGINS", value.origins, "", "list",
            "Sites whose pages may upload from a browser; `*` for every site.", unset=()),
    Setting("HTTPS_PROXY", value.proxy, "", "URL",
            "The proxy for requests to S3 by https."),
    Setting("NO_PROXY", value.proxy_exceptions, "", "list",
            "Hosts that are reached without the proxy."),
    Setting("SSL_CERT_FILE", value.certificate_file, "", "path",
            "A PEM file of certificate authorities to trust towards S3, besides the public ones.", attribute="ca_file"),
    Setting("UPLOAD_ENV_FILE", str, "mentumfileupload/.env", "path",
            "The file with settings that are not in the environment."),
    Setting("UPLOAD_TOKENS", value.tokens, "", "JSON",
            "Who may upload: an object, name to bearer token.", unset={}),
    Setting("UPLOAD_OPEN", value.truth, "false", "true or false",
            "Everyone may upload, without a token."),
    Setting("UPLOAD_LOG_LEVEL", value.log_level, "info", "debug, info, warning, error or critical",
            "The lowest level of what is logged."),
    Setting("UPLOAD_METRICS_ADDRESS", value.address, "", "host:port",
            "An additional address for `/_/metrics`, without a token."),
    _number("UPLOAD_MAX_REQUEST_BYTES", "5767168", "bytes", 0,
            "The largest size of one whole request; 0 for no limit."),
    _number("UPLOAD_MEMORY", "201326592", "bytes", 4 * Limits().part_size,
            "The most memory for the parts of all uploads; readers take up to the same again."),
    _number("UPLOAD_MAX_UPLOADS", "1000", "uploads", 1,
            "The most uploads at the same time."),
    Setting("UPLOAD_ACK", value.ack, "all", "all, quorum, any or a number",
            "How many accounts must have a file before the client gets a success."),
    _number("UPLOAD_ACK_GRACE_SECONDS", "0.5", "seconds", 0,
            "How long an upload waits for further accounts once the ack is met.", attribute="grace_seconds"),
    Setting("UPLOAD_READ_ORDER", value.items, "", "list",
            "The order in which accounts are read; accounts that are not named come last.", unset=()),
    _number("UPLOAD_CATCHUP_CONCURRENCY", "8", "files", 1,
            "How many files catch-up brings to accounts at the same time."),
    _number("UPLOAD_VERIFY_SAMPLE", "1000", "files", 0,
            "How many files are verified per day and account; 0 for none.", attribute="verified_a_day"),
    _number("UPLOAD_LEASE_SECONDS", "30", "seconds", 1,
            "How long after the death of its process an upload is cleaned up."),
    _number("UPLOAD_WAIT_SECONDS", "10", "seconds", 0,
            "How long an upload waits for memory, and a reader for a free place, before the 503."),
    _number("UPLOAD_STALL_SECONDS", "30", "seconds", 0.1,
            "How long an account may make no progress."),
    _number("UPLOAD_ACCOUNT_MIN_BYTES_PER_SECOND", "262144", "bytes a second", 1,
            "The lowest rate at which an account must take a part.", attribute="account_bytes_per_second"),
    _number("UPLOAD_ACCOUNT_REQUESTS", "64", "requests", 1,
            "The most writes at the same time per account."),
    _number("UPLOAD_COMPLETE_SECONDS", "120", "seconds", 0.1,
            "How long S3 may take to join the parts of a file."),
    _number("UPLOAD_REMOVE_SECONDS", "10", "seconds", 0.1,
            "How long the removal of a file may take per account after a failed upload."),
    _number("UPLOAD_SETTLE_SECONDS", "2", "seconds", 0,
            "How long after an unanswered request the account is asked again."),
    _number("UPLOAD_MIN_BYTES_PER_SECOND", "8192", "bytes a second", 0,
            "The lowest rate at which a client must send or receive a file; 0 for no limit."),
    _number("UPLOAD_CLIENT_GRACE_SECONDS", "10", "seconds", 0.1,
            "How long a client may be silent before its rate counts."),
    _number("UPLOAD_IDLE_SECONDS", "75", "seconds", 0.1,
            "How long a connection may be idle between two requests."),
    _number("UPLOAD_HEAD_SECONDS", "10", "seconds", 0.1,
            "How long the request line and headers of a request may take to arrive."),
    _number("UPLOAD_SHUTDOWN_SECONDS", "30", "seconds", 0,
            "How long uploads may go on after the service is told to stop."),
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """All that `settings.py` uses. `database` is empty if its URL has a fault; Django refuses to use it then.

    `notes`: a line for variables that are ignored.
    """

    debug: bool
    secret_key: str | None = field(repr=False)
    former_secret_keys: tuple[str, ...] = field(repr=False)
    allowed_hosts: tuple[str, ...]
    database: Mapping[str, object] = field(repr=False)
    upload: UploadSettings
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def read_settings(environment: Mapping[str, str]) -> ProjectSettings:
    """The settings that `environment` describes, and every fault in it."""
    faults = _unknown_settings(environment)
    values = _read_table(environment, faults)
    accounts, account_faults = read_accounts(environment, read_text_file)
    for_debug = _HOSTS_OF_DEBUG if values["debug"] else ()
    values_of_upload = values | {
        "allowed_hosts": values["allowed_hosts"] or for_debug,
        "tokens": MappingProxyType(values["tokens"]),
    }
    upload = UploadSettings(
        **_fields(UploadSettings, values_of_upload),
        version=__version__,
        limits=Limits(**_fields(Limits, values)),
        accounts=accounts,
    )
    faults += _contradictions(values, faulty={fault.partition(":")[0] for fault in faults})
    if not account_faults:
        faults += _contradictions_with_accounts(upload, [account.name for account in accounts])
    return ProjectSettings(
        **_fields(ProjectSettings, values),
        upload=upload,
        faults=(*faults, *account_faults),
        notes=tuple(_notes(environment)),
    )


def _read_table(environment: Mapping[str, str], faults: list[str]) -> dict[str, Any]:
    """Attribute -> value: the default where the variable is not set, is empty, or has a fault."""
    values: dict[str, Any] = {}
    for row in TABLE:
        found = row.read(row.default) if row.default else row.unset
        if text := _text(environment, row.name):
            try:
                found = row.read(text)
            except Fault as fault:
                faults += [f"{row.name}: {reason}" for reason in fault.args]
                if row.after_fault:
                    found = row.after_fault(text)
        values[row.field] = found
    return values


def _text(environment: Mapping[str, str], name: str) -> str:
    """The lower-case spelling of the proxy variables is the older one, and wins, as in curl."""
    texts = (environment.get(spelling, "") for spelling in (name.lower(), name) if spelling == name or "PROXY" in name)
    return next(filter(None, map(without_outer_quotes, texts)), "")


def _fields(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are fields of the dataclass `kind`."""
    return {one.name: values[one.name] for one in dataclasses.fields(kind) if one.name in values}


def _contradictions(values: Mapping[str, Any], faulty: set[str]) -> Iterator[str]:
    """Faults of two settings together. A setting that has a fault already is left out."""
    if not values["debug"] and not values["secret_key"]:
        yield "SECRET_KEY: is not set, and DEBUG is off; set a random text of 50 characters or more"
    if values["open"] and values["tokens"]:
        yield "UPLOAD_OPEN: is true, and UPLOAD_TOKENS has tokens; keep one of the two"
    if values["open"] and not values["debug"] and not values["allowed_hosts"] and "ALLOWED_HOSTS" not in faulty:
        yield "UPLOAD_OPEN: is true, and ALLOWED_HOSTS is empty; set the host names that clients use"


def _contradictions_with_accounts(upload: UploadSettings, names: Sequence[str]) -> Iterator[str]:
    if upload.ack.needed(len(names)) > len(names):
        yield f"UPLOAD_ACK: needs more accounts than there are ({len(names)})"
    if not set(upload.read_order) <= set(names):
        yield f"UPLOAD_READ_ORDER: names an account that is not set; the accounts are {', '.join(names)}"
    elif len(set(upload.read_order)) < len(upload.read_order):
        yield "UPLOAD_READ_ORDER: names an account more than once"


def _unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """A variable with our prefix that is no setting is a fault: a misspelt limit would silently be its default."""
    known = [row.name.removeprefix(PREFIX) for row in TABLE if row.name.startswith(PREFIX)]
    return [
        f"{name}: there is no such setting; did you mean {PREFIX}{nearest(name.upper().removeprefix(PREFIX), known)}?"
        for name in sorted(environment)
        if name.upper().startswith(PREFIX)
        and name.removeprefix(PREFIX) not in known
        and not is_service_link(name, environment)
    ]


def _notes(environment: Mapping[str, str]) -> Iterator[str]:
    """Variables with our prefixes that the platform set: no settings and no accounts. Often nobody can remove them."""
    names = {row.name for row in TABLE}
    ours = [name for name in sorted(environment) if name.startswith((PREFIX, ACCOUNT_PREFIX)) and name not in names]
    links = [name for name in ours if is_service_link(name, environment)]
    if links:
        yield (
            f"{_listed(links)}: set by Kubernetes for a Service, and not read; "
            "`enableServiceLinks: false` in the pod keeps such variables away"
        )
    told = [
        name
        for name in ours
        if name.startswith(ACCOUNT_PREFIX)
        and name.removeprefix(ACCOUNT_PREFIX) not in SDK_NAMES
        and name not in links
        and is_of_the_platform(name, environment)
    ]
    if told:
        yield f"{_listed(told)}: describes an AWS account, is not the JSON of an account, and is not read"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")

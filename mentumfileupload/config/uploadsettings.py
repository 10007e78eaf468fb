"""Every setting, in one table, and what comes of it: a frozen `UploadSettings` and the faults, a line each.

Promises: nothing is raised for a wrong value (`checks.py` reports the faults, and the default stands in); a fault names
the variable and never its value; an empty value means the default. docs/settings.md holds the same table, and a test
compares. The environment arrives as an argument: reading it is for `settings.py`, an account's JSON for `accounts.py`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from file.logic.values import Limits
from file.service.settings import UploadSettings
from mentumfileupload import __version__
from mentumfileupload.config.accounts import PREFIX as ACCOUNT_PREFIX
from mentumfileupload.config.accounts import SDK_NAMES, is_of_the_platform, nearest, read_accounts
from mentumfileupload.config.platformvariables import is_service_link
from mentumfileupload.config.settingvalues import SettingReader, read_text_file

PREFIX = "UPLOAD_"
_LISTED = 4  # names in one line
_HOSTS_OF_DEBUG = (".localhost", "127.0.0.1", "[::1]")  # Django's own, for its pages


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A row of the table. `default` is written as one would write it; `minimum` is for numbers."""

    name: str
    default: str
    unit: str
    minimum: float | None = None
    maximum: float | None = None
    help: str


def _row(name: str, default: str, unit: str, help: str, minimum: float | None = None) -> Setting:
    ceiling = {
        "bytes": 2**50,
        "bytes a second": 2**40,
        "seconds": 86_400,
        "uploads": 100_000,
        "requests": 10_000,
        "files": 10_000_000,
    }
    maximum = None if minimum is None else ceiling[unit]
    return Setting(name=name, default=default, unit=unit, minimum=minimum, maximum=maximum, help=help)


TABLE = (
    _row("DEBUG", "false", "true or false", "Debug capabilities, for as long as the service is not productive."),
    _row("SECRET_KEY", "", "text", "Django's key for what it signs; needed when `DEBUG` is off."),
    _row("SECRET_KEY_FALLBACKS", "", "JSON", "Former keys: an array. What was made with them is still understood."),
    _row(
        "ALLOWED_HOSTS", "", "list", "Host names of the service: for Django's pages, and without tokens for all of it."
    ),
    _row(
        "DATABASE_URL",
        "sqlite:///mentum.sqlite3",
        "URL",
        "The ledger: `sqlite:///` or `postgres://`.",
    ),
    _row("CORS_ORIGINS", "", "list", "Sites whose pages may upload from a browser; `*` for every site."),
    _row("HTTPS_PROXY", "", "URL", "The proxy for requests to S3 by https."),
    _row("NO_PROXY", "", "list", "Hosts that are reached without the proxy."),
    _row("SSL_CERT_FILE", "", "path", "A PEM file of authorities to trust towards S3, besides the public ones."),
    _row("UPLOAD_ENV_FILE", "mentumfileupload/.env", "path", "The file that is read besides the environment."),
    _row("UPLOAD_TOKENS", "", "JSON", "Who may upload: an object, name to bearer token."),
    _row("UPLOAD_OPEN", "false", "true or false", "Everybody may upload, without a token."),
    _row("UPLOAD_LOG_LEVEL", "info", "debug, info, warning, error or critical", "What is logged, and all above it."),
    _row("UPLOAD_METRICS_ADDRESS", "", "host:port", "Where `/_/metrics` is served besides, without a token."),
    _row("UPLOAD_MAX_REQUEST_BYTES", "5767168", "bytes", "What one whole request may have; 0 for no limit.", 0),
    _row(
        "UPLOAD_MEMORY",
        "201326592",
        "bytes",
        "What the parts of all uploads may hold; readers as much again.",
        4 * Limits().part_size,
    ),
    _row("UPLOAD_MAX_UPLOADS", "1000", "uploads", "How many uploads may be under way at once.", 1),
    _row("UPLOAD_ACK", "all", "all, quorum, any or a number", "How many accounts must have a file before the answer."),
    _row("UPLOAD_ACK_GRACE_SECONDS", "0.5", "seconds", "How long an upload waits for accounts beyond the ack.", 0),
    _row("UPLOAD_READ_ORDER", "", "list", "The order in which accounts are read; others come last."),
    _row(
        "UPLOAD_CATCHUP_CONCURRENCY",
        "8",
        "files",
        "How many files are brought at once to accounts that missed them.",
        1,
    ),
    _row("UPLOAD_VERIFY_SAMPLE", "1000", "files", "How many files are verified a day in each account; 0 for none.", 0),
    _row("UPLOAD_LEASE_SECONDS", "30", "seconds", "How long after its death an upload is cleaned up.", 1),
    _row(
        "UPLOAD_WAIT_SECONDS",
        "10",
        "seconds",
        "How long an upload waits for memory, and a reader for a place, before its 503.",
        0,
    ),
    _row("UPLOAD_STALL_SECONDS", "30", "seconds", "How long an account may go without progress.", 0.1),
    _row(
        "UPLOAD_ACCOUNT_MIN_BYTES_PER_SECOND", "262144", "bytes a second", "How slowly an account may take a part.", 1
    ),
    _row("UPLOAD_ACCOUNT_REQUESTS", "64", "requests", "How many writes may be under way in one account.", 1),
    _row("UPLOAD_COMPLETE_SECONDS", "120", "seconds", "How long S3 may take to join the parts of a file.", 0.1),
    _row("UPLOAD_REMOVE_SECONDS", "10", "seconds", "How long taking a file back may take in one account.", 0.1),
    _row("UPLOAD_SETTLE_SECONDS", "2", "seconds", "How long after an unanswered request we look again.", 0),
    _row(
        "UPLOAD_MIN_BYTES_PER_SECOND",
        "8192",
        "bytes a second",
        "How slowly a client may send, or take a file; 0 for no limit.",
        0,
    ),
    _row("UPLOAD_CLIENT_GRACE_SECONDS", "10", "seconds", "How long a client may be silent before that counts.", 0.1),
    _row("UPLOAD_IDLE_SECONDS", "75", "seconds", "How long a connection may be idle between two requests.", 0.1),
    _row("UPLOAD_HEAD_SECONDS", "10", "seconds", "How long a request's line and headers may take to arrive.", 0.1),
    _row("UPLOAD_SHUTDOWN_SECONDS", "30", "seconds", "How long uploads may go on once the service is told to stop.", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectSettings:
    """All that `settings.py` takes over. `database` is empty, which Django refuses to use, if its URL is faulty.

    `notes`: a line for what was left aside and stops nothing.
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
    """Everything that `environment` says, and every fault in it."""
    reader = SettingReader(environment, {row.name: row for row in TABLE})
    reader.faults += _unknown_settings(environment)
    debug = reader.truth("DEBUG")
    secret_key = reader.secret_key("SECRET_KEY")
    if not debug and not secret_key:
        reader.fault("SECRET_KEY", "is not set, and DEBUG is off; set a random text of 50 characters or more")
    database = reader.database("DATABASE_URL")
    allowed_hosts = reader.hosts("ALLOWED_HOSTS")
    upload = _read_upload_settings(reader, allowed_hosts or (_HOSTS_OF_DEBUG if debug else ()))
    if upload.open and not debug and not reader.text("ALLOWED_HOSTS"):
        reader.fault("UPLOAD_OPEN", "is true, and ALLOWED_HOSTS is empty; name the hosts under which clients reach it")
    accounts, account_faults = read_accounts(environment, read_text_file)
    if not account_faults:
        _compare_with_accounts(reader, upload, [account.name for account in accounts])
    return ProjectSettings(
        debug=debug,
        secret_key=secret_key,
        former_secret_keys=reader.texts("SECRET_KEY_FALLBACKS"),
        allowed_hosts=allowed_hosts,
        database=database,
        upload=dataclasses.replace(upload, accounts=accounts),
        faults=(*reader.faults, *account_faults),
        notes=tuple(_notes(environment)),
    )


def _read_upload_settings(reader: SettingReader, allowed_hosts: tuple[str, ...]) -> UploadSettings:
    tokens = reader.tokens("UPLOAD_TOKENS")
    is_open = reader.truth("UPLOAD_OPEN")
    if tokens and is_open:
        reader.fault("UPLOAD_OPEN", "is true, and UPLOAD_TOKENS has tokens; keep the one that is meant")
    return UploadSettings(
        version=__version__,
        max_request_bytes=reader.whole("UPLOAD_MAX_REQUEST_BYTES"),
        max_uploads=reader.whole("UPLOAD_MAX_UPLOADS"),
        account_requests=reader.whole("UPLOAD_ACCOUNT_REQUESTS"),
        min_bytes_per_second=reader.whole("UPLOAD_MIN_BYTES_PER_SECOND"),
        client_grace_seconds=reader.seconds("UPLOAD_CLIENT_GRACE_SECONDS"),
        idle_seconds=reader.seconds("UPLOAD_IDLE_SECONDS"),
        head_seconds=reader.seconds("UPLOAD_HEAD_SECONDS"),
        shutdown_seconds=reader.seconds("UPLOAD_SHUTDOWN_SECONDS"),
        catchup_concurrency=reader.whole("UPLOAD_CATCHUP_CONCURRENCY"),
        verified_a_day=reader.whole("UPLOAD_VERIFY_SAMPLE"),
        lease_seconds=reader.seconds("UPLOAD_LEASE_SECONDS"),
        ack=reader.ack("UPLOAD_ACK"),
        read_order=reader.items("UPLOAD_READ_ORDER"),
        metrics_address=reader.address("UPLOAD_METRICS_ADDRESS"),
        limits=Limits(
            memory=reader.whole("UPLOAD_MEMORY"),
            wait_seconds=reader.seconds("UPLOAD_WAIT_SECONDS"),
            stall_seconds=reader.seconds("UPLOAD_STALL_SECONDS"),
            account_bytes_per_second=reader.whole("UPLOAD_ACCOUNT_MIN_BYTES_PER_SECOND"),
            complete_seconds=reader.seconds("UPLOAD_COMPLETE_SECONDS"),
            remove_seconds=reader.seconds("UPLOAD_REMOVE_SECONDS"),
            settle_seconds=reader.seconds("UPLOAD_SETTLE_SECONDS"),
            grace_seconds=reader.seconds("UPLOAD_ACK_GRACE_SECONDS"),
        ),
        log_level=reader.choice("UPLOAD_LOG_LEVEL", ("debug", "info", "warning", "error", "critical")),
        cors_origins=reader.origins("CORS_ORIGINS"),
        tokens=MappingProxyType(tokens),
        open=is_open,
        allowed_hosts=allowed_hosts,
        accounts=(),
        https_proxy=reader.proxy("HTTPS_PROXY"),
        no_proxy=reader.exceptions("NO_PROXY"),
        ca_file=reader.certificate_file("SSL_CERT_FILE"),
    )


def _compare_with_accounts(reader: SettingReader, upload: UploadSettings, names: Sequence[str]) -> None:
    if upload.ack.needed(len(names)) > len(names):
        reader.fault("UPLOAD_ACK", f"wants more accounts than there are ({len(names)})")
    for name in upload.read_order:
        if name not in names:
            reader.fault("UPLOAD_READ_ORDER", f"names an account that is not set; the accounts are {', '.join(names)}")
            return
    if len(set(upload.read_order)) < len(upload.read_order):
        reader.fault("UPLOAD_READ_ORDER", "names an account twice")


def _unknown_settings(environment: Mapping[str, str]) -> list[str]:
    """A misspelt limit would silently be its default; so nothing under our prefix may be unknown."""
    known = [row.name.removeprefix(PREFIX) for row in TABLE if row.name.startswith(PREFIX)]
    return [
        f"{name}: there is no such setting; the nearest is {PREFIX}{nearest(name.upper().removeprefix(PREFIX), known)}"
        for name in sorted(environment)
        if name.upper().startswith(PREFIX)
        and name.removeprefix(PREFIX) not in known
        and not is_service_link(name, environment)
    ]


def _notes(environment: Mapping[str, str]) -> Iterator[str]:
    """What the platform set under our prefixes: no setting and no account. The operator often cannot take it away."""
    names = {row.name for row in TABLE}
    ours = [name for name in sorted(environment) if name.startswith((PREFIX, ACCOUNT_PREFIX)) and name not in names]
    links = [name for name in ours if is_service_link(name, environment)]
    if links:
        yield (
            f"{_listed(links)}: set by Kubernetes for a Service and not read; "
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
        yield f"{_listed(told)}: tells of an AWS account, is no account in JSON, and is not read"


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")

"""System checks: a fault in the settings is an error; a likely mistake, or what was left aside, a warning.

Promises: `check` and `runserver` show every fault and stop; so does each command that runs all system checks. What
prepares a release, and may run before anything is configured, leaves them out: `migrate` and `makemigrations` ask for
`TAGS_WITHOUT_SETTINGS`; `test` and `collectstatic` of Django run no checks of settings anyway.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

from file.management.server import openfiles

SETTINGS_TAG = "settings"
TAGS_WITHOUT_SETTINGS = tuple(value for name, value in vars(Tags).items() if not name.startswith("_"))


@register(SETTINGS_TAG)
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Everything in the environment and the .env file that cannot be meant."""
    return [Error(fault, id="file.E001") for fault in settings.UPLOAD_FAULTS]


@register(SETTINGS_TAG)
def check_accounts(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What is probably a mistake, and may be meant: it stops nothing."""
    return [checks.Warning(doubt, id="file.W001") for doubt in settings.UPLOAD_DOUBTS]


@register(SETTINGS_TAG)
def check_environment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """What the platform set under our prefixes: told, and not read."""
    return [checks.Warning(note, id="file.W002") for note in settings.UPLOAD_NOTES]


@register(SETTINGS_TAG)
def check_access(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Without tokens nobody could upload, or everybody: which of them, somebody must say."""
    upload = settings.UPLOAD
    if upload.tokens or upload.open or settings.DEBUG:
        return []
    if any(fault.startswith("UPLOAD_TOKENS:") for fault in settings.UPLOAD_FAULTS):
        return []
    line = f'UPLOAD_TOKENS={{"me": "{secrets.token_urlsafe(32)}"}}'
    reason = f"UPLOAD_TOKENS: nobody may upload; paste this line (its token is new), or set UPLOAD_OPEN=true: {line}"
    return [Error(reason, id="file.E002")]


@register(SETTINGS_TAG)
def check_open_files(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Each connection is an open file: to the accounts, and of clients."""
    fault = open_files().fault
    return [Error(fault, id="file.E003")] if fault else []


def open_files() -> openfiles.OpenFiles:
    """What the settings need, and what is left for clients."""
    upload = settings.UPLOAD
    accounts, reads = len(upload.accounts), upload.limits.readers
    return openfiles.allowed(accounts=accounts, requests=upload.account_requests, reads=reads)

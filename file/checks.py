"""System checks: a fault in the settings is an error; a likely mistake or an ignored variable is a warning.

Promises: `check`, `runserver`, and each command that runs all system checks show every fault and stop. Commands that
prepare a release may run before anything is configured: `migrate` and `makemigrations` run only
`TAGS_WITHOUT_SETTINGS`; `test` and `collectstatic` of Django run no checks of settings.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Tags, register

from file.server import openfiles

SETTINGS_TAG = "settings"
TAGS_WITHOUT_SETTINGS = tuple(value for name, value in vars(Tags).items() if not name.startswith("_"))


@register(SETTINGS_TAG)
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Every fault in the environment and the .env file."""
    return [Error(fault, id="file.E001") for fault in settings.UPLOAD_FAULTS]


@register(SETTINGS_TAG)
def check_accounts(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Values that are probably a mistake, but may be intended: they do not prevent the start."""
    return [checks.Warning(doubt, id="file.W001") for doubt in settings.UPLOAD_DOUBTS]


@register(SETTINGS_TAG)
def check_environment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Variables with our prefixes that the platform set: they are reported and ignored."""
    return [checks.Warning(note, id="file.W002") for note in settings.UPLOAD_NOTES]


@register(SETTINGS_TAG)
def check_access(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Without tokens, the operator must say whether everybody may upload."""
    upload = settings.UPLOAD
    if upload.tokens or upload.open or settings.DEBUG:
        return []
    if any(fault.startswith("UPLOAD_TOKENS:") for fault in settings.UPLOAD_FAULTS):
        return []
    line = f'UPLOAD_TOKENS={{"me": "{secrets.token_urlsafe(32)}"}}'
    reason = f"UPLOAD_TOKENS: no client may upload. Use this line with a new token, or set UPLOAD_OPEN=true: {line}"
    return [Error(reason, id="file.E002")]


@register(SETTINGS_TAG)
def check_open_files(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The limit of open files must be high enough, because each connection is an open file."""
    fault = open_files().fault
    return [Error(fault, id="file.E003")] if fault else []


def open_files() -> openfiles.OpenFiles:
    """The open files that the settings need, and the number that is left for clients."""
    upload = settings.UPLOAD
    accounts, reads = len(upload.accounts), upload.limits.readers
    return openfiles.allowed(accounts=accounts, requests=upload.account_requests, reads=reads)

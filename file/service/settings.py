"""The settings of the service as one frozen value, which `mentumfileupload/config/` makes from the environment.

It is independent of the environment and of Django, so that tests and commands can make one. docs/settings.md describes
each variable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from file.logic.values import Account, Ack, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSettings:
    """All settings of the application. Its `repr` is safe to log. `version`: the version of the service."""

    version: str
    max_request_bytes: int
    max_uploads: int
    account_requests: int
    min_bytes_per_second: int
    client_grace_seconds: float
    idle_seconds: float
    head_seconds: float
    shutdown_seconds: float
    catchup_concurrency: int
    verified_a_day: int
    lease_seconds: float
    ack: Ack
    read_order: tuple[str, ...]
    metrics_address: tuple[str, int] | None
    limits: Limits
    log_level: str
    cors_origins: tuple[str, ...]
    tokens: Mapping[str, str] = field(repr=False)
    open: bool
    allowed_hosts: tuple[str, ...]
    accounts: tuple[Account, ...]
    https_proxy: str | None = field(repr=False)
    no_proxy: str | None
    ca_file: str | None

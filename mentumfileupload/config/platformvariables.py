"""Variables that a platform sets, with names that begin as ours do: they are neither settings nor accounts.

They are recognised by name and value together, so that a misspelt setting and a mistake in an account's JSON stay
faults:

- Kubernetes describes every Service to each pod: for `upload-web` there are `UPLOAD_WEB_SERVICE_HOST` (an IP address),
  `UPLOAD_WEB_SERVICE_PORT` (a number), `UPLOAD_WEB_PORT` (`tcp://10.0.0.1:8000`), `UPLOAD_WEB_PORT_8000_TCP`, and more.
- Tools around AWS say which account they run in: `AWS_ACCOUNT_NUMBER`, `AWS_ACCOUNT_ALIAS`,
  `AWS_ACCOUNT_PROD=123456789012`.
"""

import re
from collections.abc import Mapping

from file.logic.accounts.endpoints import is_ip_address

_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
_ADDRESS = re.compile(r"(tcp|udp|sctp)://(.+):([0-9]{1,5})", re.ASCII)
# The name of a Service in capitals, and what Kubernetes appends to it.
_LINK = re.compile(
    r"(?P<stem>[A-Z0-9_]+?)_(?:"
    r"(?P<host>SERVICE_HOST)"
    r"|(?P<number>SERVICE_PORT(?:_[A-Z0-9_]+)?)"
    r"|(?P<url>PORT)"
    r"|PORT_(?P<port>[0-9]{1,5})_(?P<protocol>TCP|UDP|SCTP)(?:_(?P<detail>PORT|PROTO|ADDR))?"
    r")",
    re.ASCII,
)

# What describes an AWS account: its number with or without dashes, several numbers, an ARN, an e-mail address.
_ACCOUNT_NUMBER = r"(?:[0-9]{12}|[0-9]{4}-[0-9]{4}-[0-9]{4})"
_ABOUT_AN_ACCOUNT = re.compile(
    rf"{_ACCOUNT_NUMBER}(?:[ ,;]+{_ACCOUNT_NUMBER})*"
    r"|arn:aws[a-z-]*:[A-Za-z0-9:/_.*@+=,-]+"
    r"|[A-Za-z0-9.+_-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
    re.ASCII,
)
# With one of these words at the end of the variable's name, its value may be any plain words.
_TOLD_OF_AN_ACCOUNT = frozenset(
    (
        "ALIAS ALIASES ARN EMAIL ENV ENVIRONMENT ID IDS NAME NAMES NUMBER NUMBERS OU OWNER PARTITION PROFILE REGION "
        "REGIONS ROLE STAGE TIER TYPE"
    ).split()
)
_PLAIN_WORDS = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ,._/@+:-]{0,126}[A-Za-z0-9])?", re.ASCII)
# An access key id, a secret, JSON in base64, or one of our keys: a value with one of them is intended as an account.
_CREDENTIALS = re.compile(
    r"(?:AKIA|ASIA)[A-Z0-9]{8}|(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/])|eyJ[A-Za-z0-9]{17}"
    r"|access_key|bucket_name",
    re.ASCII,
)


def is_service_link(name: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes set the variable, to describe a Service."""
    found = _LINK.fullmatch(name)
    if found is None:
        return False
    value = environment[name].strip()
    if found["host"]:
        return is_ip_address(value)
    if found["number"]:
        # A number alone proves nothing: the host or URL of the Service must be set too.
        stem = found["stem"]
        host, url = environment.get(f"{stem}_SERVICE_HOST", ""), environment.get(f"{stem}_PORT", "")
        return bool(_NUMBER.fullmatch(value)) and (is_ip_address(host.strip()) or _is_address(url.strip()))
    if found["detail"] == "ADDR":
        return is_ip_address(value)
    if found["detail"]:
        return value == (found["port"] if found["detail"] == "PORT" else found["protocol"].lower())
    return _is_address(value)


def is_about_an_account(ending: str, value: str) -> bool:
    """Whether `AWS_ACCOUNT_<ending>` describes an AWS account, and is not intended as one of ours.

    A value with a brace or a quote is intended as JSON, under every name.
    """
    value = value.strip()
    if _ABOUT_AN_ACCOUNT.fullmatch(value):
        return True
    if ending.rpartition("_")[2] not in _TOLD_OF_AN_ACCOUNT:
        return False
    return not value or (_PLAIN_WORDS.fullmatch(value) is not None and _CREDENTIALS.search(value) is None)


def _is_address(value: str) -> bool:
    found = _ADDRESS.fullmatch(value)
    return found is not None and is_ip_address(found[2].removeprefix("[").removesuffix("]"))

"""How the text of a setting becomes a value. Each function takes a text that is not empty, and raises `Fault`.

Promises: a reason says what is expected, and never shows the value. It names the entries of lists and objects by their
position, because an entry may be a secret in the wrong place. Numbers are plain digits: no sign, underscore or unit.
Leaves to `uploadsettings.py`: which settings there are, and what an empty text means.
"""

import json
import re
import ssl
import warnings
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import environ  # type: ignore[import-untyped]

from file.logic.accounts.placement import ack_of
from file.logic.errors import AckRefusedError
from file.logic.values import Ack
from mentumfileupload.config import addresses
from mentumfileupload.config.texts import Fault, read_json_object

ROOT = Path(__file__).resolve().parents[2]
MIN_TOKEN_LENGTH = 16
MIN_SECRET_KEY_LENGTH = 50

EXAMPLES = frozenset(("put-a-long-random-text-here", "put-50-or-more-random-characters-here"))  # of .env.example
_MADE_BY_STARTPROJECT = "django-insecure-"
_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
_TOKEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_PROXY_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-f:.]+(?:%[A-Za-z0-9]+)?", re.ASCII)
_ADDRESS = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):([0-9]{1,5})", re.ASCII)
_DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")


def truth(text: str) -> bool:
    found = _TRUTHS.get(text.lower())
    if found is None:
        raise Fault("must be true or false")
    return found


def log_level(text: str) -> str:
    if text.lower() not in _LOG_LEVELS:
        raise Fault(f"must be {', '.join(_LOG_LEVELS[:-1])} or {_LOG_LEVELS[-1]}")
    return text.lower()


def ack(text: str) -> Ack:
    try:
        return ack_of(text.lower())
    except AckRefusedError:
        raise Fault("must be all, quorum, any, or a number of accounts") from None


def whole(minimum: float, maximum: float, unit: str) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) or not minimum <= int(text) <= maximum:
            raise Fault(f"must be a whole number ({unit}), from {minimum:.16g} to {maximum:.16g}")
        return int(text)

    return read


def seconds(minimum: float, maximum: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        is_number = re.fullmatch(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", text, re.ASCII)
        if not is_number or not minimum <= float(text) <= maximum:
            raise Fault(f"must be a number (seconds), from {minimum:.16g} to {maximum:.16g}")
        return float(text)

    return read


def items(text: str, fault_of: Callable[[str], str | None] = lambda entry: None) -> tuple[str, ...]:
    if addresses.is_json(text):
        raise Fault(addresses.JSON_LIST)
    found = tuple(item.strip() for item in text.split(",") if item.strip())
    reasons = [addresses.entry_fault(entry) or fault_of(entry) for entry in found]
    if any(reasons):
        raise Fault(*(f"entry {place} {reason}" for place, reason in enumerate(reasons, start=1) if reason))
    return found


def hosts(text: str) -> tuple[str, ...]:
    return items(text, addresses.host_fault)


def origins(text: str) -> tuple[str, ...]:
    return ("*",) if text == "*" else items(text, addresses.origin_fault)


def proxy_exceptions(text: str) -> str | None:
    """The list as it was written, for the library that reads it."""
    return text if items(text, addresses.exception_fault) else None


def tokens(text: str) -> dict[str, str]:
    found = read_json_object(text)
    reasons, earlier = [], set()
    for place, (owner, token) in enumerate(found.items(), start=1):
        if not _TOKEN_NAME.fullmatch(owner):
            reasons.append(f"entry {place} needs a name of up to 64 letters, digits and . _ @ -")
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
            reasons.append(f"entry {place} needs a token of printable ASCII characters without spaces")
        elif reason := guess_fault(token, MIN_TOKEN_LENGTH):
            reasons.append(f"entry {place} has a token that {reason}")
        elif token in earlier:
            reasons.append(f"entry {place} has the same token as an earlier one")
        else:
            earlier.add(token)
    if reasons:
        raise Fault(*reasons)
    return found


def texts(text: str) -> tuple[str, ...]:
    """A JSON array, because a text may have a comma."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise Fault('must be a JSON array of texts that are not empty, such as ["one", "another"]')
    return tuple(found)


def secret_key(text: str) -> str:
    if reason := guess_fault(text, MIN_SECRET_KEY_LENGTH):
        raise Fault(reason)
    return text


def guess_fault(secret: str, minimum: int) -> str | None:
    """Why a secret can be guessed: the end of a sentence that begins with it and does not show it; or None.

    Pairs of characters show repeated words, and the steps between characters show alphabets and numbers. Random secrets
    pass: fewer than one of 10,000 random texts of hexadecimal digits is refused. A secret that a person made up may
    pass too.
    """
    if secret in EXAMPLES or secret.startswith(_MADE_BY_STARTPROJECT):
        return "is an example that everyone can read; use a random one"
    if len(secret) < minimum:
        return f"is shorter than {minimum} characters"
    neighbours = list(pairwise(secret))
    if len(set(neighbours)) < minimum // 2 + 2:
        return "repeats a few characters or words, and can be guessed; use a random one"
    (_, often), *_ = Counter(ord(after) - ord(before) for before, after in neighbours).most_common(1)
    if often > len(neighbours) / 2:
        return "counts up or down, and can be guessed; use a random one"
    return None


def database(text: str) -> dict[str, object]:
    """The URL in the form of Django's DATABASES."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _DATABASE_SCHEMES:
        raise Fault("must begin with sqlite:/// or postgres://")
    is_file = scheme == "sqlite" and rest != ":memory:"
    if is_file and not rest.strip("/"):
        raise Fault("names no file: write sqlite:///name, or sqlite:////folder/name")
    if is_file and not rest.startswith("/"):
        raise Fault("needs three slashes before a file beside manage.py, and four before an absolute path")
    if (addresses.is_cut_off if scheme == "sqlite" else addresses.is_unencoded)(rest):
        raise Fault(addresses.UNENCODED)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # django-environ's warnings show the URL with the password
            found: dict[str, object] = environ.Env.db_url_config(text)
    except (ValueError, IndexError):
        raise Fault("is not a URL: its host or its port cannot be read") from None
    if not found.get("NAME"):
        raise Fault("names no database after the host")
    return found | {"NAME": str(ROOT / str(found["NAME"]))} if is_file else found


def address(text: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(text)
    if not found:
        raise Fault("must be host:port, such as 127.0.0.1:9100")
    if not 0 < int(found[2]) < 65536:
        raise Fault("must have a port from 1 to 65535")
    return found[1].strip("[]"), int(found[2])


def proxy(text: str) -> str:
    text = text if "://" in text else f"http://{text}"
    if not addresses.is_json(text) and addresses.is_unencoded(text.partition("://")[2]):
        raise Fault(addresses.UNENCODED)
    try:
        url = urlsplit(text)
        is_usable = url.scheme in {"http", "https"} and url.port != 0 and url.path in ("", "/")
        is_usable = is_usable and bool(_PROXY_HOST.fullmatch(url.hostname or ""))
    except ValueError:
        is_usable = False
    if not is_usable or not re.fullmatch(r"[!-~]+", text):
        raise Fault("must be the address of a proxy, such as http://proxy.example.com:3128")
    return text


def certificate_file(path: str) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise Fault("the file holds no certificate in PEM form") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise Fault(f"the file cannot be read ({reason})") from None
    return path

"""How the text of one setting becomes a value, or a fault.

Promises: never raises for what somebody wrote; a fault is one line that names the variable, says what is expected, and
never shows the value. Numbers are plain digits: no sign, no underscore, no unit. Which settings there are stands in
`uploadsettings.py`.
"""

import json
import re
import ssl
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import environ  # type: ignore[import-untyped]

from file.logic.accounts.placement import ack_of
from file.logic.errors import AckRefusedError
from file.logic.values import Ack
from mentumfileupload.config import addresses
from mentumfileupload.config.accounts import read_json_object, without_outer_quotes
from mentumfileupload.config.guessing import guess_fault

ROOT = Path(__file__).resolve().parent.parent.parent
MIN_TOKEN_LENGTH = 16
MIN_SECRET_KEY_LENGTH = 50

_TRUTHS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_TOKEN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_PROXY_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-f:.]+(?:%[A-Za-z0-9]+)?", re.ASCII)
_DATABASE_SCHEMES = ("sqlite", "postgres", "postgresql")


class Row(Protocol):
    @property
    def default(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def minimum(self) -> float | None: ...
    @property
    def maximum(self) -> float | None: ...


def read_text_file(path: str) -> str:
    """The file's text; a byte order mark, which some editors write, is no part of it."""
    return Path(path).read_text(encoding="utf-8-sig")


class SettingReader:
    """Reads settings by name and gathers the faults. After a fault the default stands in."""

    def __init__(self, environment: Mapping[str, str], rows: Mapping[str, Row]) -> None:
        self._environment = environment
        self._rows = rows
        self.faults: list[str] = []

    def fault(self, name: str, reason: str) -> None:
        self.faults.append(f"{name}: {reason}")

    def text(self, name: str) -> str:
        """Empty counts as not set: `NAME=` is how a .env file says "the default"."""
        return self._given(name) or self._rows[name].default

    def truth(self, name: str) -> bool:
        found = _TRUTHS.get(self.text(name).lower())
        if found is None:
            self.fault(name, "must be true or false")
            return _TRUTHS[self._rows[name].default]
        return found

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        found = self.text(name).lower()
        if found not in choices:
            self.fault(name, f"must be {', '.join(choices[:-1])} or {choices[-1]}")
            return self._rows[name].default
        return found

    def ack(self, name: str) -> Ack:
        try:
            return ack_of(self.text(name).lower())
        except AckRefusedError:
            self.fault(name, "must be all, quorum, any, or a number of accounts")
            return Ack()

    def whole(self, name: str) -> int:
        return int(self._number(name, r"[0-9]{1,18}", "a whole number"))

    def seconds(self, name: str) -> float:
        return float(self._number(name, r"[0-9]{1,9}(?:\.[0-9]{1,9})?", "a number"))

    def items(self, name: str, fault_of: Callable[[str], str | None] = lambda entry: None) -> tuple[str, ...]:
        """A list. Entries are named by their place: an entry may be a secret in the wrong place."""
        text = self.text(name)
        if addresses.is_json(text):
            self.fault(name, addresses.JSON_LIST)
            return ()
        found = tuple(item.strip() for item in text.split(",") if item.strip())
        reasons = [addresses.entry_fault(entry) or fault_of(entry) for entry in found]
        for place, reason in enumerate(reasons, start=1):
            if reason is not None:
                self.fault(name, f"entry {place} {reason}")
        return () if any(reasons) else found

    def hosts(self, name: str) -> tuple[str, ...]:
        return self.items(name, addresses.host_fault)

    def origins(self, name: str) -> tuple[str, ...]:
        return ("*",) if self.text(name) == "*" else self.items(name, addresses.origin_fault)

    def exceptions(self, name: str) -> str | None:
        """The list as it was written, for a library that reads it."""
        return self.text(name) if self.items(name, addresses.exception_fault) else None

    def tokens(self, name: str) -> dict[str, str]:
        """Entries are named by their place: whoever swapped name and token has the token as a name."""
        text = self._given(name)
        try:
            found = read_json_object(text) if text else {}
        except ValueError as error:
            self.fault(name, str(error))
            return {}
        faults = len(self.faults)
        for place, (owner, token) in enumerate(found.items(), start=1):
            if not _TOKEN_NAME.fullmatch(owner):
                self.fault(name, f"entry {place} needs a name of up to 64 letters, digits and . _ @ -")
            if not isinstance(token, str) or not re.fullmatch(r"[!-~]+", token):
                self.fault(name, f"entry {place} needs a token of printable ASCII characters without spaces")
            elif reason := guess_fault(token, MIN_TOKEN_LENGTH):
                self.fault(name, f"entry {place} has a token that {reason}")
            elif token in list(found.values())[: place - 1]:
                self.fault(name, f"entry {place} has the same token as an earlier one")
        return found if len(self.faults) == faults else {}

    def texts(self, name: str) -> tuple[str, ...]:
        """A JSON array: a text may have a comma."""
        try:
            found = json.loads(self._given(name) or "[]")
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list) or not all(isinstance(text, str) and text for text in found):
            self.fault(name, 'must be a JSON array of texts that are not empty, such as ["one", "another"]')
            return ()
        return tuple(found)

    def secret_key(self, name: str) -> str | None:
        text = self.text(name)
        if text and (reason := guess_fault(text, MIN_SECRET_KEY_LENGTH)):
            self.fault(name, reason)
        return text or None

    def database(self, name: str) -> dict[str, object]:
        """Django's form of the URL, or nothing: an empty one makes Django refuse, where a default would be migrated."""
        text = self.text(name)
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in _DATABASE_SCHEMES:
            self.fault(name, "must begin with sqlite:/// or postgres://")
            return {}
        if scheme == "sqlite" and rest != ":memory:" and not rest.strip("/"):
            self.fault(name, "names no file: write sqlite:///name, or sqlite:////folder/name")
            return {}
        if scheme == "sqlite" and rest != ":memory:" and not rest.startswith("/"):
            self.fault(name, "needs three slashes before a file beside manage.py, four before an absolute path")
            return {}
        if (addresses.is_cut_off if scheme == "sqlite" else addresses.is_unencoded)(rest):
            self.fault(name, addresses.UNENCODED)
            return {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # its warnings show the URL, and so the password
                found: dict[str, object] = environ.Env.db_url_config(text)
        except (ValueError, IndexError):
            self.fault(name, "is not a URL: its host or its port cannot be read")
            return {}
        if not found.get("NAME"):
            self.fault(name, "names no database after the host")
            return {}
        if scheme == "sqlite" and found["NAME"] != ":memory:":
            found["NAME"] = str(ROOT / str(found["NAME"]))
        return found

    def address(self, name: str) -> tuple[str, int] | None:
        text = self._given(name)
        if not text:
            return None
        host, _, port = text.rpartition(":")
        if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]", host) or not re.fullmatch(
            r"[0-9]{1,5}", port, re.ASCII
        ):
            self.fault(name, "must be host:port, such as 127.0.0.1:9100")
            return None
        if not 0 < int(port) < 65536:
            self.fault(name, "must have a port from 1 to 65535")
            return None
        return host.strip("[]"), int(port)

    def proxy(self, name: str) -> str | None:
        text = self._given(name)
        if not text:
            return None
        text = text if "://" in text else f"http://{text}"
        if not addresses.is_json(text) and addresses.is_unencoded(text.partition("://")[2]):
            self.fault(name, addresses.UNENCODED)
            return None
        try:
            url = urlsplit(text)
            usable = url.scheme in {"http", "https"} and url.port != 0 and url.path in ("", "/")
            usable = usable and bool(_PROXY_HOST.fullmatch(url.hostname or ""))
        except ValueError:
            usable = False
        if not usable or not re.fullmatch(r"[!-~]+", text):
            self.fault(name, "must be a proxy's address, such as http://proxy.example.com:3128")
            return None
        return text

    def certificate_file(self, name: str) -> str | None:
        path = self._given(name)
        if not path:
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
        except ssl.SSLError:
            self.fault(name, "the file holds no certificate in PEM form")
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            self.fault(name, f"the file cannot be read ({reason})")
            return None
        return path

    def _given(self, name: str) -> str:
        """The small spelling of the proxy variables is the older one, and wins, as in curl."""
        for spelling in (name.lower(), name) if name.endswith("_PROXY") else (name,):
            if text := without_outer_quotes(self._environment.get(spelling, "")):
                return text
        return ""

    def _number(self, name: str, pattern: str, kind: str) -> float:
        row = self._rows[name]
        minimum, maximum = row.minimum or 0, row.maximum or 0
        text = self.text(name)
        found = float(text) if re.fullmatch(pattern, text, re.ASCII) else None
        if found is None or not minimum <= found <= maximum:
            self.fault(name, f"must be {kind} ({row.unit}), from {minimum:.16g} to {maximum:.16g}")
            return float(row.default)
        return found

"""What is wrong with an address in a setting: a host, an origin, an exception of the proxy, the user before a host.

Each function returns the end of a sentence that begins with the entry, or None. An entry that looks right, but matches
nothing or leads to another host, is a fault, because nothing else would show the mistake. No reason shows the entry.
"""

import re

JSON_LIST = "is a list in JSON; write the entries with commas between them, without brackets and quotes"
UNENCODED = (
    "has an @, /, ? or # in its user name, password or database name that is not percent-encoded: "
    "@ is %40, / is %2F, ? is %3F, # is %23"
)

_IP6 = r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]"
_HOST = re.compile(rf"\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|{_IP6}", re.ASCII)
_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", re.ASCII)
_QUOTES = frozenset("\"'`\u201c\u201d\u2018\u2019")


def is_json(text: str) -> bool:
    """Whether a list was written as JSON. An IPv6 address in brackets is none."""
    return text.startswith("{") or (text.startswith("[") and re.match(_IP6, text, re.ASCII) is None)


def entry_fault(entry: str) -> str | None:
    """For the entries of all lists."""
    if _QUOTES & set(entry):
        return "has a quote; write it without quotes"
    if re.search(r"\s", entry):
        return "has a space; separate the entries by commas"
    return None


def host_fault(entry: str) -> str | None:
    """For ALLOWED_HOSTS: what a browser sends as `Host`, without the port."""
    if entry == "*" or _HOST.fullmatch(entry):
        return None
    for pattern, reason in (
        (r".*://", "has a scheme; write only the host, such as files.example.com"),
        (r".*[/?#]", "has a path; write only the host, such as files.example.com"),
        (rf"(?:[^:]*|{_IP6}):[0-9]*$", "has a port; write only the host, which is valid for every port"),
        (r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$", "is an IPv6 address without brackets; write [address]"),
        (r"\*\.", "has a *; write .example.com for a domain and all its subdomains"),
        (r".*\.$", "ends in a dot; remove the dot"),
    ):
        if re.match(pattern, entry, re.ASCII):
            return reason
    return "is not a host: use letters, digits, dots and dashes (other letters as xn--...), or a single *"


def origin_fault(entry: str) -> str | None:
    """For CORS_ORIGINS: what a browser sends as `Origin`: scheme, host, and the port if it is not the usual one."""
    scheme, separator, rest = entry.partition("://")
    if not separator:
        return "has no scheme; write an origin such as https://example.com"
    if scheme not in ("http", "https"):
        return "must begin with https:// or http://, in lower case"
    for pattern, reason in (
        (r".*[/?#]", "has a path, or a slash at its end; a browser sends neither"),
        (r".*\*", "has a *; only a single * for all sites is possible"),
        (r".*[A-Z]", "has capital letters; a browser sends lower case"),
        (rf".*:{443 if scheme == 'https' else 80}$", "has the usual port of its scheme, which a browser leaves out"),
    ):
        if re.match(pattern, rest, re.ASCII):
            return reason
    found = _ORIGIN.fullmatch(entry)
    return None if found and int(found[1] or 1) < 65536 else "is not an origin; an example is https://example.com"


def exception_fault(entry: str) -> str | None:
    """For NO_PROXY: only what is certainly wrong, because a machine may set it for other programs too."""
    return "has a scheme; write only the host" if "://" in entry else None


def is_unencoded(rest: str) -> bool:
    """Whether the text behind `://` would be read as another host, user or path than intended.

    A user name and password end at the last @ before the first /, ? or #. A further @ on either side means that one of
    these characters is part of the password and not encoded; the host would then be read out of the password.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return authority.count("@") > 1 or "@" in rest[len(authority) :] or is_cut_off(rest)


def is_cut_off(rest: str) -> bool:
    """Whether a # would cut off the end, or a ? that is not followed by `name=value`."""
    query = rest.partition("?")[2]
    return "#" in rest or ("?" in rest and not all("=" in pair for pair in query.split("&")))

"""What is wrong with an address in a setting: a host, an origin, a proxy's exception, the user before a host.

Each question answers with the end of a sentence that begins with the entry, or None. What looks right and matches
nothing, or leads to another host, is a fault: it would not be noticed otherwise. No answer shows what was written.
"""

import re

JSON_LIST = "is a list in JSON; write the entries one after another, with commas between them and no brackets or quotes"
UNENCODED = (
    "has an @, /, ? or # in its user name, password or database name that is not percent-encoded: "
    "@ is %40, / is %2F, ? is %3F, # is %23"
)

_IP6 = r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]"
_HOST = re.compile(rf"\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*|{_IP6}", re.ASCII)
_ORIGIN = re.compile(r"https?://(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?", re.ASCII)
_QUOTES = frozenset("\"'`\u201c\u201d\u2018\u2019")


def is_json(text: str) -> bool:
    """Whether a list was written as JSON writes it; an IPv6 address stands in brackets, too."""
    return text.startswith("{") or (text.startswith("[") and re.match(_IP6, text, re.ASCII) is None)


def entry_fault(entry: str) -> str | None:
    """Of any list."""
    if _QUOTES & set(entry):
        return "has a quote; write it without quotes"
    if re.search(r"\s", entry):
        return "has a space; separate entries by commas"
    return None


def host_fault(entry: str) -> str | None:
    """Of ALLOWED_HOSTS: what a browser sends as `Host`, without the port."""
    if entry == "*" or _HOST.fullmatch(entry):
        return None
    for pattern, reason in (
        (r".*://", "has a scheme; write the host alone, such as files.example.com"),
        (r".*[/?#]", "has a path; write the host alone, such as files.example.com"),
        (rf"(?:[^:]*|{_IP6}):[0-9]*$", "has a port; write the host alone, which holds for every port"),
        (r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*$", "is an IPv6 address without brackets; put them around it"),
        (r"\*\.", "has a *; .example.com stands for a domain and all below it"),
        (r".*\.$", "ends in a dot; leave it out"),
    ):
        if re.match(pattern, entry, re.ASCII):
            return reason
    return "is no host: write letters, digits, dots and dashes (other letters as xn--...), or a single *"


def origin_fault(entry: str) -> str | None:
    """Of CORS_ORIGINS: what a browser sends as `Origin`, scheme, host, port if unusual, and nothing after it."""
    scheme, separator, rest = entry.partition("://")
    if not separator:
        return "has no scheme; write an origin such as https://example.com"
    if scheme not in ("http", "https"):
        return "must begin with https:// or http://, in small letters"
    for pattern, reason in (
        (r".*[/?#]", "has a path, or a slash at its end; a browser sends none"),
        (r".*\*", "has a *, which may only stand alone"),
        (r".*[A-Z]", "has capital letters; a browser sends small ones"),
        (
            rf".*:{443 if scheme == 'https' else 80}$",
            "has the port that its scheme has anyway; a browser leaves it out",
        ),
    ):
        if re.match(pattern, rest, re.ASCII):
            return reason
    found = _ORIGIN.fullmatch(entry)
    return None if found and int(found[1] or 1) < 65536 else "is no origin such as https://example.com"


def exception_fault(entry: str) -> str | None:
    """Of NO_PROXY, which a machine may set for all of its programs: only what is surely wrong."""
    return "has a scheme; write the host alone" if "://" in entry else None


def is_unencoded(rest: str) -> bool:
    """Whether what stands behind `://` would be read as another host, user or path than was meant.

    A user name or password ends at the last @ before the first /, ? or #. One more @ on either side says that one of
    these stands in it as it is; the host would be cut out of the password.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return authority.count("@") > 1 or "@" in rest[len(authority) :] or is_cut_off(rest)


def is_cut_off(rest: str) -> bool:
    """Whether the end would be lost: what follows a #, or a ? that begins no `name=value`."""
    query = rest.partition("?")[2]
    return "#" in rest or ("?" in rest and not all("=" in pair for pair in query.split("&")))

"""Lists and URLs that would match nothing or lead to another host are faults, which do not show the value."""

from collections.abc import Callable

import pytest
from django.http.request import host_validation_re, split_domain_port, validate_host

from mentumfileupload.config.uploadsettings import ProjectSettings
from tests.unit.config.cases import assert_fault, each

Read = Callable[..., ProjectSettings]


@pytest.mark.parametrize(
    "password",
    ["p@ss/w#rd", "SECRET@x", "SECRET/x", "SECRET#x", "SECRET?x", "12/SECRET", "12?SECRET", "12#SECRET", "@", "x/"],
)
@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_database_s_url_is_a_fault_when_its_password_is_not_encoded(password: str, scheme: str, read: Read) -> None:
    project = read(DATABASE_URL=f"{scheme}://me:{password}@db.example:5432/mentum")
    assert_fault(project, "DATABASE_URL", "has an @, /, ? or # ", "@ is %40, / is %2F, ? is %3F, # is %23")
    assert "w#rd" not in str(project.faults)
    assert project.database == {}


@pytest.mark.parametrize(
    "url",
    [
        *("postgres://me:p%40ss%2Fw%23r%3Fd@db.example:5432/mentum", "postgres://db.example/mentum"),
        *("postgres://me:p:s[s]+!$&*@db.example/mentum?sslmode=require&connect_timeout=5", "postgres:///mentum"),
    ],
)
def test_a_database_s_url_is_accepted_when_it_is_encoded(url: str, read: Read) -> None:
    project = read(DATABASE_URL=url)
    assert project.faults == ()
    assert project.database["NAME"] == "mentum"
    assert project.database["HOST"] in ("db.example", "")


@pytest.mark.parametrize("url", ["sqlite:////srv/a#SECRET.sqlite3", "sqlite:///a?SECRET.sqlite3"])
def test_a_database_s_url_is_a_fault_when_the_end_of_its_file_name_would_be_lost(url: str, read: Read) -> None:
    assert_fault(read(DATABASE_URL=url), "DATABASE_URL", "has an @, /, ? or # ")
    assert read(DATABASE_URL="sqlite:////srv/a@b.sqlite3?timeout=5").database["NAME"] == "/srv/a@b.sqlite3"


def test_a_proxy_is_a_fault_when_its_password_is_not_encoded(read: Read) -> None:
    for password in ("p@ss/w#rd", "SECRET@x", "SECRET/x", "SECRET#x", "SECRET?x"):
        project = read(HTTPS_PROXY=f"http://me:{password}@proxy.example:3128")
        assert_fault(project, "HTTPS_PROXY", "has an @, /, ? or # ")
        assert password not in str(project.faults)
        assert project.upload.https_proxy is None
    good = "http://me:p%40ss@proxy.example:3128"
    assert read(HTTPS_PROXY=good).upload.https_proxy == good


@pytest.mark.parametrize(
    "name", ["ALLOWED_HOSTS", "CORS_ORIGINS", "NO_PROXY", "UPLOAD_READ_ORDER", "HTTPS_PROXY", "UPLOAD_METRICS_ADDRESS"]
)
@pytest.mark.parametrize(
    "text", ['["SECRET", "b"]', "['SECRET']", "[SECRET.example,b.example]", '{"SECRET": 1}', '"[\\"SECRET\\"]"', "[]"]
)
def test_json_is_a_fault_when_a_list_or_an_address_is_required(name: str, text: str, read: Read) -> None:
    says = [] if name in ("HTTPS_PROXY", "UPLOAD_METRICS_ADDRESS") else ["is a list in JSON"]
    assert_fault(read(**{name: text}), name, "", *says)


@pytest.mark.parametrize("name", ["ALLOWED_HOSTS", "CORS_ORIGINS", "NO_PROXY", "UPLOAD_READ_ORDER"])
@pytest.mark.parametrize(
    ("text", "places"),
    [('"a.example","b.example"', (1, 2)), ('"a.example", "b.example", "c"', (1, 2, 3)), ("“a.example”", (1,))],
)
def test_each_entry_is_a_fault_when_it_has_quotes(name: str, text: str, places: tuple[int, ...], read: Read) -> None:
    faults = read(**{name: text}).faults
    assert faults == tuple(f"{name}: entry {place} has a quote; write it without quotes" for place in places)


@pytest.mark.parametrize(
    ("says", "entry"),
    each(
        {
            "has a scheme": ["https://files.example.com", "http://localhost:8000"],
            "has a path": ["//files.example.com", "files.example.com/"],
            "has a port": ["files.example.com:8000", "[::1]:8000", ".example.com:443"],
            "IPv6 address without brackets": ["::1"],
            "write .example.com": ["*.example.com"],
            "ends in a dot": ["files.example.com."],
            "separate the entries by commas": ["files example.com"],
            "is not a host": ["my_host", "user@host"],
            "xn--": ["müller.example"],
        }
    ),
)
def test_an_allowed_host_is_a_fault_when_it_could_match_nothing(entry: str, says: str, read: Read) -> None:
    project = read(ALLOWED_HOSTS=f"good.example,{entry}")
    assert_fault(project, "ALLOWED_HOSTS", "entry 2 ", says)
    assert entry not in project.faults[0]
    assert project.allowed_hosts == ()


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("files.example.com", "files.example.com:8000"),
        ("Files.Example.com", "FILES.example.com"),
        (".example.com", "a.b.example.com"),
        ("localhost", "localhost:8000"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]", "[::1]:8000"),
        ("*", "anything.example"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
    ],
)
def test_an_allowed_host_is_accepted_when_django_can_match_it(pattern: str, host: str, read: Read) -> None:
    project = read(ALLOWED_HOSTS=f" {pattern} , other.example")
    assert project.faults == ()
    assert host_validation_re.match(host.lower())
    assert validate_host(split_domain_port(host)[0], project.allowed_hosts)


@pytest.mark.parametrize(
    ("says", "entry"),
    each(
        {
            "has no scheme": ["a.example", "null", "*"],
            "must begin with https:// or http://": ["ftp://a.example"],
            "lower case": ["HTTPS://a.example"],
            "has a path, or a slash at its end": ["https://a.example/", "https://a.example/app"],
            "has a *": ["https://*.a.example"],
            "has capital letters": ["https://A.example"],
            "has the usual port of its scheme": ["https://a.example:443", "http://a.example:80"],
            "is not an origin": ["https://a.example:99999", "https://"],
        }
    ),
)
def test_an_origin_is_a_fault_when_no_browser_sends_it(entry: str, says: str, read: Read) -> None:
    project = read(CORS_ORIGINS=f"https://good.example,{entry}")
    assert_fault(project, "CORS_ORIGINS", "entry 2 ", says)
    assert project.upload.cors_origins == ()


def test_an_origin_is_a_fault_when_a_star_is_among_others(read: Read) -> None:
    project = read(CORS_ORIGINS="*,https://a.example")
    assert [fault.partition(":")[0] for fault in project.faults] == ["CORS_ORIGINS"]
    assert project.upload.cors_origins == ()


@pytest.mark.parametrize(
    "origins",
    [
        *("https://a.example:80", "http://a.example:443", "http://[::1]:3000", "https://a-b.example:8443", "*"),
        "https://a.example , http://localhost:3000",
    ],
)
def test_an_origin_is_accepted_when_a_browser_sends_it(origins: str, read: Read) -> None:
    assert read(CORS_ORIGINS=origins).upload.cors_origins == tuple(origins.split(" , "))


def test_the_proxy_s_exceptions_are_accepted_in_every_usual_form(read: Read) -> None:
    text = "localhost, 127.0.0.1,.svc,*.internal,10.0.0.0/8,[::1],fd00::/8,host:8080"
    project = read(NO_PROXY=text)
    assert project.faults == ()
    assert project.upload.no_proxy == text
    (fault,) = read(NO_PROXY="localhost,http://SECRET.example").faults
    assert fault == "NO_PROXY: entry 2 has a scheme; write only the host"


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:9100", "127.0.0.1:9100/metrics", "9100", ":9100", "::1:9100", "a b:1"]
)
def test_the_metrics_address_is_a_fault_when_it_is_not_host_and_port(text: str, read: Read) -> None:
    project = read(UPLOAD_METRICS_ADDRESS=text)
    assert project.faults == ("UPLOAD_METRICS_ADDRESS: must be host:port, such as 127.0.0.1:9100",)
    assert project.upload.metrics_address is None


@pytest.mark.parametrize(
    "text",
    [
        *('http://"SECRET"', "http://SECRET,http://b", "https//SECRET", "ftp://SECRET:21", "socks5://SECRET"),
        *("http://", "http://SECRET:x", "http://SECRET SECRET", "http://[SECRET"),
    ],
)
def test_a_proxy_is_a_fault_when_it_is_no_address(text: str, read: Read) -> None:
    assert_fault(read(HTTPS_PROXY=text), "HTTPS_PROXY", "must be the address of a proxy")

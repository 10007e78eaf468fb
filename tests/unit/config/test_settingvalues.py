"""`UPLOAD_*` and the rest of the table: what each value becomes; no fault shows a value."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from file.logic.values import Limits
from mentumfileupload.config.uploadsettings import TABLE, ProjectSettings, read_settings
from testkit.serviceprocess import SECRET_KEY
from tests.unit.config.cases import assert_fault

Write = Callable[..., str]
Read = Callable[..., ProjectSettings]


def test_the_defaults_hold_when_nothing_is_set(read: Read) -> None:
    project = read()
    assert project.faults == ()
    upload = project.upload
    assert upload.max_request_bytes == 5_767_168 == int(5.5 * 1024 * 1024)
    assert upload.limits == Limits()
    assert (upload.max_uploads, upload.account_requests, upload.min_bytes_per_second) == (1000, 64, 8192)
    assert (upload.client_grace_seconds, upload.shutdown_seconds) == (10, 30)
    assert dict(upload.tokens) == {}
    assert not upload.open
    assert upload.log_level == "info"
    assert (upload.https_proxy, upload.no_proxy, upload.ca_file) == (None, None, None)
    assert [account.name for account in upload.accounts] == ["A"]


def test_the_default_holds_when_a_value_is_empty(read: Read) -> None:
    everything = {row.name: " " for row in TABLE if row.name != "DEBUG"}
    assert read(**everything) == read()


@pytest.mark.parametrize("row", [row for row in TABLE if row.minimum is not None], ids=lambda row: row.name)
def test_a_number_has_its_bounds_when_it_is_set(row: object, read: Read) -> None:
    name, minimum, maximum = row.name, row.minimum, row.maximum  # type: ignore[attr-defined]
    for good in (minimum, maximum):
        assert read(**{name: f"{good:.16g}"}).faults == ()
    for bad in (f"{maximum + 1:.16g}", "-1", "1e3", "1_000", "8MiB", "nan", "inf", "٣", "+5", "0x10", "9" * 5000):
        (fault,) = read(**{name: bad}).faults
        assert fault.startswith(f"{name}: must be ")
        assert len(bad) < 4 or bad not in fault
    if minimum > 0:
        assert read(**{name: "0"}).faults


@pytest.mark.parametrize("name", "WAIT STALL COMPLETE REMOVE SETTLE".split())
@pytest.mark.parametrize("value", ["7", "0.5"])
def test_a_limit_is_set_when_it_is_a_time(name: str, value: str, read: Read) -> None:
    limits = read(**{f"UPLOAD_{name}_SECONDS": value}).upload.limits
    assert getattr(limits, f"{name.lower()}_seconds") == float(value)


def test_a_limit_is_set_when_it_is_a_number_of_bytes(read: Read) -> None:
    limits = read(UPLOAD_MEMORY="67108864", UPLOAD_ACCOUNT_MIN_BYTES_PER_SECOND="7").upload.limits
    assert (limits.memory, limits.account_bytes_per_second) == (67108864, 7)


@pytest.mark.parametrize(
    "name",
    [
        *("max_request_bytes", "max_uploads", "account_requests", "min_bytes_per_second"),
        *("client_grace_seconds", "shutdown_seconds"),
    ],
)
def test_a_number_is_set_when_its_variable_is(name: str, read: Read) -> None:
    assert getattr(read(**{f"UPLOAD_{name.upper()}": "7"}).upload, name) == 7


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("UPLOAD_MEMROY", "UPLOAD_MEMORY"),
        ("UPLOAD_TOKEN", "UPLOAD_TOKENS"),
        ("UPLOAD_MAX_BYTES", "UPLOAD_MAX_REQUEST_BYTES"),
        ("UPLOAD_", "UPLOAD_"),
        ("UPLOAD_memory", "UPLOAD_"),
    ],
)
def test_a_fault_names_the_nearest_setting_when_one_is_unknown(wrong: str, meant: str, read: Read) -> None:
    assert_fault(read(**{wrong: "SECRET"}), wrong, f"there is no such setting; did you mean {meant}")


@pytest.mark.parametrize(
    ("text", "debug"), [("true", True), ("TRUE", True), ("1", True), ("'yes'", True), ("false", False), ("off", False)]
)
def test_debug_is_as_it_says_when_it_is_a_word_for_it(text: str, debug: bool, read: Read) -> None:
    assert read(DEBUG=text, SECRET_KEY=SECRET_KEY).debug is debug


def test_debug_is_off_when_it_is_not_set_or_not_understood(account_json: Write) -> None:
    needed = {"AWS_ACCOUNT_A": account_json(), "SECRET_KEY": SECRET_KEY}
    assert read_settings(needed).debug is False
    project = read_settings({**needed, "DEBUG": "ture"})
    assert (project.debug, project.faults) == (False, ("DEBUG: must be true or false",))


def test_a_secret_key_is_needed_when_debug_is_off(read: Read) -> None:
    assert_fault(read(DEBUG="false"), "SECRET_KEY", "is not set")
    assert read(DEBUG="false", SECRET_KEY=f"${SECRET_KEY}").secret_key == f"${SECRET_KEY}"


def test_former_secret_keys_arrive_when_they_are_an_array(read: Read) -> None:
    project = read(SECRET_KEY_FALLBACKS='["one, with a comma", "$other"]')
    assert (project.faults, project.former_secret_keys) == ((), ("one, with a comma", "$other"))
    assert "comma" not in repr(project)
    assert read(SECRET_KEY_FALLBACKS="").former_secret_keys == ()


@pytest.mark.parametrize(
    "text", ["SECRET", '"SECRET"', '{"SECRET": 1}', '["SECRET", ""]', '["SECRET", 1]', "[" * 100_000]
)
def test_former_secret_keys_are_a_fault_and_not_shown_when_they_are_no_array_of_texts(text: str, read: Read) -> None:
    project = read(SECRET_KEY_FALLBACKS=text)
    assert_fault(project, "SECRET_KEY_FALLBACKS", "must be a JSON array of texts")
    assert project.former_secret_keys == ()


def test_tokens_arrive_when_they_are_an_object(read: Read) -> None:
    tokens = {"me": "$aaaa-long-token=", "team.b-2@x": "~!{}[]()*&^%$#@?"}
    project = read(UPLOAD_TOKENS=json.dumps(tokens))
    assert project.faults == ()
    assert dict(project.upload.tokens) == tokens
    assert "aaaa" not in repr(project)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"me": "SECRET-of-me-0815"', "not valid JSON"),
        ('"SECRET-of-me-0815"', "not valid JSON"),
        ("SECRET-of-me-0815", "not valid JSON"),
        ('["SECRET-of-me-0815"]', "JSON object"),
        ('{"me": "SECRET"}', "entry 1 has a token that is shorter than 16"),
        ('{"me": "SECRET-of me-0815"}', "without spaces"),
        ('{"me": "SECRET-of-mü-0815"}', "ASCII"),
        ('{"me": 1234567890123456}', "ASCII"),
        ('{"": "SECRET-of-me-0815"}', "entry 1 needs a name"),
        ('{"a b": "SECRET-of-me-0815"}', "entry 1 needs a name"),
        ('{"a": "SECRET-of-me-0815", "b": "SECRET-of-me-0815"}', "entry 2 has the same token"),
        ('{"a": "SECRET-of-me-0815", "a": "SECRET-of-me-0815-2"}', "more than once"),
        ('{"SECRET-of-me-0815": "me"}', "entry 1"),
    ],
)
def test_no_token_is_used_or_shown_when_one_is_wrong(text: str, says: str, read: Read) -> None:
    project = read(UPLOAD_TOKENS=text)
    assert_fault(project, "UPLOAD_TOKENS", "", says)
    assert dict(project.upload.tokens) == {}


def test_open_and_tokens_are_a_fault_when_both_are_set(read: Read) -> None:
    assert read(UPLOAD_OPEN="true").upload.open
    assert_fault(read(UPLOAD_OPEN="true", UPLOAD_TOKENS=json.dumps({"me": "a-token-of-a-test"})), "UPLOAD_OPEN")


def test_an_open_service_names_its_hosts_when_debug_is_off(read: Read) -> None:
    off = {"UPLOAD_OPEN": "true", "DEBUG": "false", "SECRET_KEY": SECRET_KEY}
    assert_fault(read(**off), "UPLOAD_OPEN", "is true, and ALLOWED_HOSTS is empty")
    assert_fault(read(**off, ALLOWED_HOSTS="https://x"), "ALLOWED_HOSTS")
    assert read(**off, ALLOWED_HOSTS="files.example").upload.allowed_hosts == ("files.example",)
    assert read(UPLOAD_OPEN="true").upload.allowed_hosts == (".localhost", "127.0.0.1", "[::1]")
    assert read(DEBUG="false", SECRET_KEY=SECRET_KEY).upload.allowed_hosts == ()


def test_the_database_is_beside_manage_py_when_its_path_is_relative(read: Read) -> None:
    root = Path(__file__).resolve().parents[3]
    assert read().database["NAME"] == str(root / "mentum.sqlite3")
    assert read(DATABASE_URL="sqlite:////srv/x.sqlite3").database["NAME"] == "/srv/x.sqlite3"
    assert read(DATABASE_URL="sqlite://:memory:").database["NAME"] == ":memory:"


def test_a_postgres_url_is_taken_apart_when_it_is_given(read: Read) -> None:
    database = read(DATABASE_URL="postgres://me:p%40ss@db.example:5433/mentum").database
    assert database["ENGINE"] == "django.db.backends.postgresql"
    assert (database["PASSWORD"], database["HOST"], database["PORT"]) == ("p@ss", "db.example", 5433)


@pytest.mark.parametrize(
    "url",
    [
        *("SECRET", "mysql://SECRET@x/y", "$SECRET", "sqlite://SECRET.sqlite3", "sqlite:///", "sqlite://"),
        *("postgres://u:SECRET@h:SECRET/x", "postgres://u:SECRET@[::1/x", "postgres://u:SECRET@h"),
    ],
)
def test_there_is_no_database_when_its_url_is_wrong(url: str, read: Read) -> None:
    project = read(DATABASE_URL=url)
    assert_fault(project, "DATABASE_URL")
    assert project.database == {}


def test_the_proxy_is_used_when_it_is_set(read: Read) -> None:
    upload = read(HTTPS_PROXY="http://user:SECRET@proxy.example:3128", NO_PROXY="a.example,127.0.0.1").upload
    assert upload.https_proxy == "http://user:SECRET@proxy.example:3128"
    assert upload.no_proxy == "a.example,127.0.0.1"
    assert "SECRET" not in repr(upload)
    upload = read(HTTPS_PROXY="http://b", https_proxy="proxy.example:3128").upload
    assert upload.https_proxy == "http://proxy.example:3128"


def test_a_certificate_file_is_refused_when_it_cannot_be_used(read: Read, tmp_path: Path) -> None:
    (fault,) = read(SSL_CERT_FILE=str(tmp_path / "missing")).faults
    assert fault == "SSL_CERT_FILE: the file cannot be read (No such file or directory)"
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("not a certificate")
    (fault,) = read(SSL_CERT_FILE=str(wrong)).faults
    assert fault == "SSL_CERT_FILE: the file holds no certificate in PEM form"


def test_a_certificate_file_arrives_when_it_holds_one(read: Read, tmp_path: Path) -> None:
    authorities = ssl.create_default_context().get_ca_certs(binary_form=True)
    if not authorities:
        pytest.skip("this machine has no certificates of authorities")
    bundle = tmp_path / "bundle.pem"
    bundle.write_text(ssl.DER_cert_to_PEM_cert(authorities[0]))
    assert read(SSL_CERT_FILE=str(bundle)).upload.ca_file == str(bundle)


def test_a_fault_names_the_variable_when_an_account_or_a_setting_is_misspelt(read: Read) -> None:
    account = '{"access_key_id": "the-value"}'
    faults = read(AWS_ACOUNT_D=account, aws_account_e=account, upload_memory="5").faults
    assert [fault.split(":")[0] for fault in faults] == ["upload_memory", "AWS_ACOUNT_D", "aws_account_e"]
    assert "the-value" not in str(faults)
    assert "UPLOAD_MEMORY" in faults[0]

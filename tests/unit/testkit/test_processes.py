"""A process ends with the process that started it, not with the thread that asked for it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from testkit.processes import start_process

READY_AND_STAY = "print('ready', flush=True); import signal; signal.pause()"


def test_a_process_lives_on_when_the_thread_that_asked_for_it_has_ended() -> None:
    with ThreadPoolExecutor(1) as thread:
        command = [sys.executable, "-c", READY_AND_STAY]
        process = thread.submit(start_process, command, stdout=subprocess.PIPE).result()
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"  # otherwise it would have been killed by now
            assert process.poll() is None
        finally:
            process.kill()

"""Processes that end with the one that started them, and not with the thread that asked for them."""

import subprocess
import sys
import threading

from testkit.processes import start_process

READY_AND_STAY = "print('ready', flush=True); import signal; signal.pause()"


def test_a_process_lives_on_when_the_thread_that_asked_for_it_has_ended() -> None:
    made: list[subprocess.Popen[bytes]] = []

    def ask() -> None:
        made.append(start_process([sys.executable, "-c", READY_AND_STAY], stdout=subprocess.PIPE))

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    [process] = made
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"  # it would have been killed by now
            assert process.poll() is None
        finally:
            process.kill()

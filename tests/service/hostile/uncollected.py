"""`manage.py` without Python's collector of cycles. On SIGUSR1 it prints a line with the errors that are in cycles.

Run by `python -m tests.service.hostile.uncollected runserver ...`.
"""

import gc
import json
import signal
import sys
from types import FrameType

from manage import main


def _tell(number: int, frame: FrameType | None) -> None:
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    errors = [repr(kept) for kept in gc.garbage if isinstance(kept, BaseException)]
    gc.garbage.clear()
    gc.set_debug(0)
    sys.stdout.write(json.dumps({"event": "errors_in_cycles", "errors": errors}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    gc.disable()
    signal.signal(signal.SIGUSR1, _tell)
    main()  # type: ignore[no-untyped-call]

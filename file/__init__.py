"""The service, and the first import of structlog.

structlog imports rich if it is installed, for coloured logs that the service does not write. That costs each start 9 %
more CPU and 3 MiB of memory, so rich is hidden from it here. `file/management/terminal.py` imports rich when it draws.
"""

import sys

if "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]

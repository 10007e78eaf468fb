"""How many client connections the limit of open files allows. Each connection, also to an account, is an open file.

If open files ran out, uploads and the ledger would fail. If client connections run out, clients only wait in the
kernel's queue. So a reserve is kept for accounts and ledger, and a limit that leaves very few connections for clients
is a fault of the configuration.
"""

import resource
from dataclasses import dataclass

# The most connections, also with a higher limit of open files, because each takes memory.
MOST_CONNECTIONS = 4096
_LEAST_CONNECTIONS = 64
# The ledger and its threads, the log, the metrics listener, the event loop, and files that Python opens for a moment.
_OWN = 64
# Other requests to an account, which UPLOAD_ACCOUNT_REQUESTS does not count.
_QUESTIONS = 16


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The limit of open files, the reserve for accounts and ledger, and the client connections that remain."""

    limit: int
    reserve: int

    @property
    def connections(self) -> int:
        return min(MOST_CONNECTIONS, self.limit - self.reserve)

    @property
    def fault(self) -> str | None:
        """One line if very few connections remain."""
        if self.connections >= _LEAST_CONNECTIONS:
            return None
        return (
            f"The limit of open files is {self.limit}, and {self.reserve} are reserved for accounts and ledger. Set it "
            f"to {self.reserve + _LEAST_CONNECTIONS} or more (LimitNOFILE=, --ulimit nofile=), better to "
            f"{self.reserve + MOST_CONNECTIONS}, or lower UPLOAD_ACCOUNT_REQUESTS or UPLOAD_MEMORY"
        )


def allowed(*, accounts: int, requests: int, reads: int) -> OpenFiles:
    """What this process may have after `raise_limit`. `requests` and `reads`: at the same time, per account."""
    reserve = _OWN + accounts * (requests + reads + _QUESTIONS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OpenFiles(max(_finite(soft, reserve), _finite(hard, reserve)), reserve)


def raise_limit(wanted: OpenFiles) -> None:
    """Raise the soft limit as far as needed. It only protects programs that cannot use descriptors above 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted.limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted.limit, hard))


def _finite(limit: int, reserve: int) -> int:
    enough = reserve + MOST_CONNECTIONS
    return enough if limit == resource.RLIM_INFINITY else min(limit, enough)

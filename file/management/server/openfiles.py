"""How many connections the limit of open files allows: each is an open file, and so is each connection to an account.

What runs out first must be the clients' connections, which wait in the kernel's queue then. If open files ran out,
uploads would fail in all accounts, and the ledger with them. So a reserve is left, and a limit that leaves hardly
anything for clients is a fault of the configuration.
"""

import resource
from dataclasses import dataclass

# More are not accepted, however many files may be open: each holds memory, too.
MOST_CONNECTIONS = 4096
_LEAST_CONNECTIONS = 64
# The ledger and its threads, the log, the metrics' listener, the event loop, and what Python opens for a moment.
_OWN = 64
# Under way in an account: they have no share of UPLOAD_ACCOUNT_REQUESTS.
_QUESTIONS = 16


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The limit that holds, what of it is left to others, and the connections of clients that remain."""

    limit: int
    reserve: int

    @property
    def connections(self) -> int:
        return min(MOST_CONNECTIONS, self.limit - self.reserve)

    @property
    def fault(self) -> str | None:
        """One line if hardly any connection remains."""
        if self.connections >= _LEAST_CONNECTIONS:
            return None
        return (
            f"The limit of open files is {self.limit}, and {self.reserve} are for the accounts and the ledger; set it "
            f"to {self.reserve + _LEAST_CONNECTIONS} at least (LimitNOFILE=, --ulimit nofile=), better to "
            f"{self.reserve + MOST_CONNECTIONS}, or lower UPLOAD_ACCOUNT_REQUESTS or UPLOAD_MEMORY"
        )


def allowed(*, accounts: int, requests: int, reads: int) -> OpenFiles:
    """What this process may have, once it asks for it. `requests`: writes at once in an account; `reads` likewise."""
    reserve = _OWN + accounts * (requests + reads + _QUESTIONS)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return OpenFiles(max(_finite(soft, reserve), _finite(hard, reserve)), reserve)


def raise_limit(wanted: OpenFiles) -> None:
    """Raise the soft limit, which protects only programs that cannot count above 1,024, as far as it is needed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted.limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted.limit, hard))


def _finite(limit: int, reserve: int) -> int:
    enough = reserve + MOST_CONNECTIONS
    return enough if limit == resource.RLIM_INFINITY else min(limit, enough)

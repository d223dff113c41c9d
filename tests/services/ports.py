"""Loopback ports for servers that are killed and come back, which nobody else takes meanwhile.

A port that the kernel has given out once and taken back it gives to whoever asks next, be it while
the server that is to have it is killed, or has not begun yet. So ours are of those that the kernel
gives to nobody. Which of them are this process's is settled between processes by a name of the
kernel's, which ends with the process.
"""

import os
import socket
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from threading import Lock

FROM = 10_000
AT_ONCE = 200
"""So many are one process's: far more than it has servers at a time."""
_KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")

_lock = Lock()
_ours: tuple[int, Iterator[int]] = 0, iter(())
"""Whose ports these are, by process id, and the next ones over and over."""


def free_ports(count: int) -> list[int]:
    """Return so many different loopback ports on which nobody listens at the moment.

    No other process that asks here is given them while this one lives, and this one is given them
    again only after many others.
    """
    global _ours
    with _lock:
        if _ours[0] != os.getpid():
            _ours = os.getpid(), cycle(_slice())
        found: list[int] = []
        while len(found) < count:
            if (port := next(_ours[1])) not in found and _is_free(port):
                found.append(port)
        return found


def _slice() -> range:
    """Return the first slice that is no other process's."""
    kernels = int(_KERNELS.read_text().split()[0]) if _KERNELS.exists() else 0
    end = kernels if kernels >= FROM + AT_ONCE else 32_768
    for first in range(FROM, end - AT_ONCE + 1, AT_ONCE):
        mine = socket.socket(socket.AF_UNIX)
        try:
            mine.bind(f"\0otel-dbevents-ports-{first}")
        except OSError:
            mine.close()
        else:
            mine.detach()  # open until the process ends
            return range(first, first + AT_ONCE)
    raise RuntimeError(f"no ports are left between {FROM} and {end}")


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

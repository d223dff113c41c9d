"""An application that ends in the way it is told: ``python -m tests.outage.ends HOW``.

It runs one query or more (`EXPECTED` says how many), prints the time, and ends.
"""

import asyncio
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

EXPECTED: dict[str, tuple[int, int]] = {
    "normal": (0, 1),
    "sys_exit": (3, 1),
    "exception": (1, 1),
    "sigterm": (-signal.SIGTERM, 0),
    "sigterm_handled": (143, 1),
    "sigint": (-signal.SIGINT, 1),
    "os_exit": (5, 0),
    "atexit_before_us": (0, 1),
    "atexit_after_us": (0, 2),
    "thread": (0, 2),
    "pool": (0, 2),
    "daemon": (0, 1),
    "result_left_open": (0, 1),
    "asyncio": (0, 1),
    "asyncio_exit": (4, 1),
    "uninstrumented": (0, 1),
}
"""The exit status, and how many queries a collector that takes them gets at the least."""


def normal(_: Callable[[], None]) -> None:
    """Return from the last line."""


def sys_exit(_: Callable[[], None]) -> NoReturn:
    sys.exit(3)


def exception(_: Callable[[], None]) -> NoReturn:
    raise ValueError("the application's own")


def sigterm(_: Callable[[], None]) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def sigterm_handled(_: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def sigint(_: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)


def os_exit(_: Callable[[], None]) -> NoReturn:
    os._exit(5)


def atexit_after_us(query: Callable[[], None]) -> None:
    atexit.register(query)


def _later(query: Callable[[], None]) -> None:
    time.sleep(0.2)
    query()


def thread(query: Callable[[], None]) -> None:
    threading.Thread(target=_later, args=[query]).start()


def pool(query: Callable[[], None]) -> None:
    ThreadPoolExecutor(1).submit(_later, query)


def daemon(query: Callable[[], None]) -> None:
    def work() -> None:
        while True:
            query()

    threading.Thread(target=work, daemon=True).start()


def result_left_open(_: Callable[[], None]) -> None:
    from sqlalchemy import create_engine, text

    open_ones.append(create_engine("sqlite://").connect().execute(text("SELECT 2 AS open")))


open_ones: list[Any] = []


async def _nothing() -> None:
    await asyncio.sleep(0)


async def _exits() -> NoReturn:
    sys.exit(4)


def asyncio_(_: Callable[[], None]) -> None:
    asyncio.run(_nothing())


def asyncio_exit(_: Callable[[], None]) -> None:
    asyncio.run(_exits())


def uninstrumented(_: Callable[[], None]) -> None:
    import otel_dbevents

    otel_dbevents.uninstrument()


def main(how: str) -> None:
    if how == "atexit_before_us":
        atexit.register(lambda: query())
    from sqlalchemy import create_engine, text

    import otel_dbevents.auto  # noqa: F401

    engine = create_engine("sqlite://")

    def query() -> None:
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1 AS one")).scalar() == 1

    query()
    print(time.monotonic(), flush=True)
    end: Callable[[Callable[[], None]], None]
    end = globals().get(f"{how}_") or globals().get(how) or normal
    end(query)


if __name__ == "__main__":
    main(sys.argv[1])

"""The process: settings, signals, and the work between them."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

from otel_dbevents.bus.redis.connecting import RedisSetupError, check_package, where
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.config import Config, ConfigError
from otel_dbevents.exporters import SetupError
from otel_dbevents.exporters.outlets import exporters_by_signal
from otel_dbevents.shipping import keys_of
from otel_dbevents.sidecar.looks import Looks
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work
from otel_dbevents.unreachable import say_once

_GRACE_S: Final = 1.0
_log = logging.getLogger("otel_dbevents.sidecar")


def run(options: argparse.Namespace) -> int:
    """Run until a signal comes; return the exit status."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    say_once()
    try:
        work, outlets, url, looks = _set_up(options)
    except (ConfigError, RedisSetupError, SetupError, OSError, ValueError) as error:
        sys.stderr.write(f"otel-dbevents sidecar: {error}\n")
        return 2
    looks.start()
    _log.info("reading from %s; how it does is at http://%s:%d", url, *looks.server_address[:2])
    stopped = _until_stopped(lambda: _work_until_stopped(work, outlets, options.deadline))
    looks.stop()
    _log.info("ended by %s: %d events handled", stopped, work.counts.handled)
    return 0


def _set_up(options: argparse.Namespace) -> tuple[Work, Outlets, str, Looks]:
    config = Config()
    if not config.ships:
        raise ConfigError(
            "there is no Redis to read from: set OTEL_DBEVENTS_BUS_URL, for example "
            "OTEL_DBEVENTS_BUS_URL=redis://localhost:6379/0"
        )
    check_package()
    keys = keys_of(config)
    if options.require_signature and keys is None:
        raise ConfigError("--require-signature needs a key: set OTEL_DBEVENTS_SIGNING_KEY")
    host, port = _address(options.http)
    reader = Reader(
        config.bus_url,
        config.stream,
        options.group,
        keys=keys,
        require_signature=options.require_signature,
        claim_after_s=options.claim_after,
    )
    outlets = Outlets(exporters_by_signal(direct_otlp=config.direct_otlp))
    name = options.name or f"{socket.gethostname()}-{os.getpid()}"
    work = Work(reader, Tellers(name, outlets.preferences, None), outlets, config.bus_url)
    return work, outlets, where(config.bus_url), Looks(work, host, port)


def _until_stopped(work: "Callable[[], Callable[[], None]]") -> str:
    """Do the work aside, until a signal comes; return the signal's name."""
    came = threading.Event()
    names: list[str] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        names.append(signal.Signals(number).name)
        came.set()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    end = work()
    came.wait()
    end()
    return names[0]


def _work_until_stopped(work: Work, outlets: Outlets, deadline: float) -> "Callable[[], None]":
    """Begin the work on a thread of its own, and return what ends it in time."""
    thread = threading.Thread(target=work.run, name="otel-dbevents-sidecar", daemon=True)
    thread.start()

    def end() -> None:
        work.stop(max(0.0, deadline - _GRACE_S))
        thread.join(max(0.0, deadline - _GRACE_S))
        outlets.abort()
        thread.join(_GRACE_S)

    return end


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--http takes HOST:PORT, but got {text!r}; for example 127.0.0.1:9469")
    return host.strip("[]") or "127.0.0.1", int(port)

"""The process: settings, signals, and the work between them."""

import argparse
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Final

from otel_dbevents.bus.redis.connecting import RedisSetupError, connect, let_go, where
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.config import Config, ConfigError
from otel_dbevents.exporters import SetupError, sdk_disabled
from otel_dbevents.exporters.outlets import exporters_by_signal
from otel_dbevents.shipping import keys_of
from otel_dbevents.sidecar.finding import find_handlers, group_of
from otel_dbevents.sidecar.handlers import Handling
from otel_dbevents.sidecar.looks import Looks
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work
from otel_dbevents.unreachable import say_once

_GRACE_S: Final = 1.0
_LOOK_S: Final = 0.2
_log = logging.getLogger("otel_dbevents.sidecar")


def run(options: argparse.Namespace) -> int:
    """Run until a signal comes; return the exit status."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    say_once(may_be_disabled=False)
    try:
        work, outlets, config, looks, handlings = _set_up(options)
    except (ConfigError, RedisSetupError, SetupError, OSError, ValueError) as error:
        sys.stderr.write(f"otel-dbevents sidecar: {error}\n")
        return 2
    looks.start()
    _say_what_it_does(options, config, outlets, looks)
    stopped = _until_stopped(
        lambda: _work_until_stopped(work, outlets, handlings, options.deadline)
    )
    looks.stop()
    left = work.state.held_entries
    _log.info(
        "ended by %s: %d events handled%s",
        stopped,
        work.counts.handled,
        f"; {left} entries that were in hand stay in Redis, for another" if left else "",
    )
    return 0


def _set_up(
    options: argparse.Namespace,
) -> tuple[Work, Outlets, Config, Looks, Sequence[Handling]]:
    config = Config()
    if sdk_disabled():
        raise ConfigError(
            "OTEL_SDK_DISABLED=true: events would be taken out of Redis, and nothing told of them; "
            "unset it here"
        )
    if not config.ships:
        raise ConfigError(
            "there is no Redis to read from: set OTEL_DBEVENTS_BUS_URL, for example "
            "OTEL_DBEVENTS_BUS_URL=redis://localhost:6379/0"
        )
    let_go(connect(config.bus_url))  # it looks at the URL, and no further
    keys = keys_of(config)
    if options.require_signature and keys is None:
        raise ConfigError("--require-signature needs a key: set OTEL_DBEVENTS_SIGNING_KEY")
    host, port = _address(options.http)
    handlings = _handlings(options, config, keys)
    reader = _reader(options, config, keys, options.group)
    outlets = Outlets(exporters_by_signal(direct_otlp=config.direct_otlp))
    name = options.name or f"{socket.gethostname()}-{os.getpid()}"
    work = Work(reader, Tellers(name, outlets.preferences, None), outlets, config.bus_url)
    try:
        looks = Looks(work, host, port, handlings)
    except OSError as error:
        raise ConfigError(
            f"--http {options.http} cannot be had ({error.strerror}): name another host and port"
        ) from None
    return work, outlets, config, looks, handlings


def _say_what_it_does(
    options: argparse.Namespace, config: Config, outlets: Outlets, looks: Looks
) -> None:
    is_signed = keys_of(config) is not None
    _log.info(
        "reading %s at %s as %s, %s; telemetry goes to %s; how it does is at http://%s:%d",
        config.stream,
        where(config.bus_url),
        options.group,
        "signed entries only" if is_signed else "signatures are not looked at",
        ", ".join(outlets.places) or "nobody",
        *looks.server_address[:2],
    )
    if not outlets.places:
        _log.warning(
            "OTEL_TRACES_EXPORTER, _METRICS_EXPORTER and _LOGS_EXPORTER are none: what is read is "
            "taken out of Redis, and sent nowhere"
        )


def _handlings(
    options: argparse.Namespace, config: Config, keys: Keyring | None
) -> Sequence[Handling]:
    """Return what brings events to handlers; raises `ConfigError` for one that cannot be had."""
    here = str(Path.cwd())
    if options.handler and here not in sys.path:
        sys.path.insert(0, here)  # as for any program that is named by its module
    return [
        Handling(
            handler,
            _reader(options, config, keys, group_of(handler), buries=False),
            config.bus_url,
        )
        for handler in find_handlers(options.handler)
    ]


def _reader(
    options: argparse.Namespace,
    config: Config,
    keys: Keyring | None,
    group: str,
    *,
    buries: bool = True,
) -> Reader:
    return Reader(
        config.bus_url,
        config.stream,
        group,
        keys=keys,
        require_signature=options.require_signature,
        claim_after_s=options.claim_after,
        buries=buries,
    )


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
    while not came.wait(_LOOK_S):  # what comes in the moment before a wait does not end it
        pass
    end()
    return names[0]


def _work_until_stopped(
    work: Work, outlets: Outlets, handlings: Sequence[Handling], deadline: float
) -> "Callable[[], None]":
    """Begin the work on threads of its own, and return what ends it in time."""
    for each in handlings:
        each.start()
    thread = threading.Thread(target=work.run, name="otel-dbevents-sidecar", daemon=True)
    thread.start()

    def end() -> None:
        _log.info("about to end: what is in hand is sent first, for %g s at most", deadline)
        until = monotonic() + max(0.0, deadline - _GRACE_S)
        work.stop(until - monotonic())
        for each in handlings:
            each.stop()
        thread.join(max(0.0, until - monotonic()))
        for each in handlings:
            each.join(max(0.0, until - monotonic()))
        outlets.abort()
        thread.join(_GRACE_S)

    return end


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"--http takes HOST:PORT, but got {text!r}; for example 127.0.0.1:9469")
    return host.strip("[]") or "127.0.0.1", int(port)

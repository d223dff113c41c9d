"""The command ``otel-dbevents sidecar`` and its options."""

import argparse
from typing import Any, Final

_ABOUT: Final = """\
Read what applications ship into Redis, make spans, metrics and log records of it, and send them
over OTLP. An entry is taken out of Redis' hands when the collector has taken all that was made of
it. Several of these share a stream: start as many as are needed.

Settings: OTEL_DBEVENTS_BUS_URL, _STREAM, _SIGNING_KEY, _SIGNING_KEY_PREVIOUS, _FLUSH_TIMEOUT_MS
say where the events are; OTEL_EXPORTER_OTLP_* say where telemetry goes, as always. SIGTERM and
SIGINT end it. Exit status: 0 ended, 2 wrong settings or usage.
"""
_DEADLINE_S: Final = 10.0


def add_parser(commands: Any) -> None:
    """Add the command and its options to the parsers of the commands."""
    parser = commands.add_parser(
        "sidecar",
        help="make telemetry of what applications ship into Redis",
        description=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--group", default="sidecar", help="the group whose members share the stream")
    add("--http", default="127.0.0.1:9469", metavar="HOST:PORT", help="where it says how it does")
    add(
        "--claim-after",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="take over what another sidecar has held for so long (default: 60)",
    )
    add("--name", default="", help="its name in the numbers' source; else host and process")
    add(
        "--require-signature",
        action="store_true",
        help="take no entry that is not signed, also when no key is set here",
    )
    add(
        "--deadline",
        type=_seconds,
        default=_DEADLINE_S,
        metavar="SECONDS",
        help="how long its end may take (default: 10)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run until a signal comes; return the exit status."""
    from otel_dbevents.sidecar.process import run

    return run(options)


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 86_400:
        raise argparse.ArgumentTypeError("takes a number of seconds from 0 to 86400")
    return number

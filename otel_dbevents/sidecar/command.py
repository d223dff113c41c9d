"""The commands ``otel-dbevents sidecar`` and ``otel-dbevents dlq``, and their options."""

import argparse
import re
from typing import Any, Final

_ABOUT: Final = """\
Read what applications ship into Redis, make spans, metrics and log records of it, and send them
over OTLP. An entry is taken out of Redis' hands when the collector has taken all that was made of
it. Several of these share a stream: start as many as are needed.

Settings: OTEL_DBEVENTS_BUS_URL and _STREAM say where the events are, _SIGNING_KEY and
_SIGNING_KEY_PREVIOUS whose are taken; OTEL_EXPORTER_OTLP_* say where telemetry goes, as always.
SIGTERM and SIGINT end it: what it holds is sent first, and what is not taken stays in Redis. Exit
status: 0 ended by a signal, 2 wrong settings or usage. A Redis or a collector that is not there, or
does not let it in, ends nothing: it says so, and tries again.
"""
_ABOUT_DLQ: Final = """\
What could not be taken out of the stream, or made no telemetry, or failed in a handler three times,
is put aside with the reason: nothing of it is lost. Mend the reason, then retry: an entry goes back
into the stream, where its signature is checked as before; a handler's goes to that handler alone.

  otel-dbevents dlq list               all of them, and what mends each reason
  otel-dbevents dlq show ID            one, with the events that died, without values
  otel-dbevents dlq retry ID | --reason REASON | --all
  otel-dbevents dlq drop ID | --reason REASON | --all

Settings: OTEL_DBEVENTS_BUS_URL, _STREAM, _SIGNING_KEY (a retry is signed with it). Exit status: 0
done, 1 there is no such letter, 2 wrong settings or usage, or Redis does not do it.
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
    add(
        "--group",
        default="sidecar",
        type=_name,
        help="the group whose members share the stream (default: sidecar)",
    )
    add(
        "--http",
        default="127.0.0.1:9469",
        metavar="HOST:PORT",
        help="where /healthz, /readyz and /metrics are (default: 127.0.0.1:9469)",
    )
    add(
        "--claim-after",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="take over what another sidecar has held for so long (default: 60)",
    )
    add("--name", default="", help="its name in the numbers' source; else host and process")
    add(
        "--handler",
        action="append",
        default=[],
        metavar="MODULE:FUNCTION",
        help="also bring events to this function, of the types that its parameter is annotated "
        "with; may be given several times. Those of the entry points otel_dbevents.handlers are "
        "found by themselves",
    )
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


def add_dlq_parser(commands: Any) -> None:
    """Add the command to the parsers of the commands."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = commands.add_parser(
        "dlq",
        help="look at the dead letters of the bus on Redis, try them again, or drop them",
        description=_ABOUT_DLQ,
        formatter_class=raw,
    )
    parser.set_defaults(run=run_dlq)
    acts = parser.add_subparsers(dest="act", required=True, metavar="{list,show,retry,drop}")
    found = {}
    for act, text in (
        ("list", "say what there is"),
        ("show", "say what one is"),
        ("retry", "send it back"),
        ("drop", "do away with it"),
    ):
        found[act] = acts.add_parser(act, help=text)
        found[act].add_argument("--json", action="store_true", help="print JSON")
    found["list"].add_argument("--reason", help="only those with this reason")
    found["show"].add_argument("id", metavar="ID")
    for act in ("retry", "drop"):
        which = found[act].add_mutually_exclusive_group(required=True)
        which.add_argument("id", nargs="?", metavar="ID")
        which.add_argument("--reason", help="all with this reason")
        which.add_argument("--all", action="store_true", help="all there are")


def run(options: argparse.Namespace) -> int:
    """Run until a signal comes; return the exit status."""
    from otel_dbevents.sidecar.process import run

    return run(options)


def run_dlq(options: argparse.Namespace) -> int:
    """Look at the dead letters, or move them; return the exit status."""
    from otel_dbevents.sidecar.dlq import run

    return run(options)


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 86_400:
        raise argparse.ArgumentTypeError("takes a number of seconds from 0 to 86400")
    return number


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", text):
        raise argparse.ArgumentTypeError("takes a name of letters, digits, _ . and -")
    return text

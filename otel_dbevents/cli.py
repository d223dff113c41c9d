"""The command ``otel-dbevents``: a demonstration, a check, a report, the sidecar, its letters."""

import argparse
import errno
import json
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from otel_dbevents.check import Report, examine
from otel_dbevents.report.command import add_parser, coloured
from otel_dbevents.sidecar.command import add_dlq_parser
from otel_dbevents.sidecar.command import add_parser as add_sidecar
from otel_dbevents.version import VERSION

_ABOUT: Final = """\
See what your SQLAlchemy application does to its database, in OpenTelemetry.

  otel-dbevents demo     watch it at work on a small application; needs no network
  otel-dbevents check    see whether your settings, versions and collector are well
  otel-dbevents report   see which prompts cost what in the database
  otel-dbevents sidecar  make telemetry of what applications ship into Redis
  otel-dbevents dlq      look at what the sidecar put aside, try it again, or drop it

In your own application one line is enough:

  import otel_dbevents.auto
"""
_CHECK: Final = """\
Show the settings in force and where each came from, the versions, whether the collector takes
traces, metrics and logs (an empty export is sent to it), whether what stands behind it takes them
from there, whether databases answer, and, measured for a second, what being observed costs on this
machine. What is not well comes with its mend. Exit status: 0 all well, 1 something is wrong, 2
wrong usage.
"""
_EXAMPLES: Final = """\
examples:
  otel-dbevents check
  otel-dbevents check --database postgresql+psycopg://user:password@localhost/shop
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 otel-dbevents check --send --json
"""
_NOT_WRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
_DEMO_EXTRA: Final = ("aiosqlite", "greenlet", "rich")
_COLOURS: Final = {"ok": "32", "warning": "33", "wrong": "31"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    A reader that has seen enough (``| head``) ends it without a word, with the status of whom
    SIGPIPE ends; an output that cannot be written, with a line.
    """
    if sys.stdout is None:  # closed by who started it: `>&-`
        _into_nothing()
    try:
        try:
            status = _run(list(sys.argv[1:] if argv is None else argv))
        finally:  # argparse ends by itself
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE:
            status = 128 + 13
        elif error.errno in _NOT_WRITTEN:
            sys.stderr.write(f"otel-dbevents: the output cannot be written: {error.strerror}\n")
            status = 2
        else:
            raise
        _into_nothing()
    return status


def _into_nothing() -> None:
    """Have what is still to be written go nowhere, or Python complains of it at its end."""
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _run(arguments: list[str]) -> int:
    if arguments[:1] == ["demo"]:
        return _demo(arguments[1:])
    options = _parser().parse_args(arguments)
    if options.command is None:
        _parser().print_help()
        return 0
    if options.command in ("report", "sidecar", "dlq"):
        return int(options.run(options))
    report = examine(
        options.database,
        collector_metrics=options.collector_metrics,
        sidecar=options.sidecar,
        send=options.send,
        measure=not options.no_cost,
    )
    return _tell(report, options.json)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="otel-dbevents", description=_ABOUT, formatter_class=raw)
    parser.add_argument(
        "--version", action="version", version=f"otel-dbevents {VERSION}", help="say which it is"
    )
    commands = parser.add_subparsers(
        dest="command", title="commands", metavar="{demo,check,report,sidecar,dlq}"
    )
    commands.add_parser("demo", help="show the library at work", add_help=False)
    check = commands.add_parser(
        "check",
        help="look at settings, versions, collector and database",
        description=_CHECK,
        epilog=_EXAMPLES,
        formatter_class=raw,
    )
    add = check.add_argument
    add(
        "--database",
        metavar="URL",
        action="append",
        default=[],
        help="connect to this database, too; may be given several times",
    )
    add(
        "--send",
        action="store_true",
        help="send one span, one measurement and one log record through the collector, and see "
        "whether what stands behind it takes them",
    )
    add(
        "--collector-metrics",
        metavar="HOST:PORT",
        help="where the collector tells of itself; else port 8888 of its host",
    )
    add(
        "--sidecar",
        metavar="HOST:PORT",
        help="ask the sidecar there how it does, for example 127.0.0.1:9469",
    )
    add("--no-cost", action="store_true", help="leave out the measurement of what it costs here")
    add("--json", action="store_true", help="print one JSON document")
    add_parser(commands)
    add_sidecar(commands)
    add_dlq_parser(commands)
    return parser


def _demo(arguments: Sequence[str]) -> int:
    missing = [name for name in _DEMO_EXTRA if find_spec(name) is None]
    if missing:
        asks = bool({"-h", "--help"} & set(arguments))
        (sys.stdout if asks else sys.stderr).write(
            f"otel-dbevents demo: {', '.join(missing)} not installed; "
            "pip install 'otel-dbevents[demo]'\n"
        )
        return 0 if asks else 2
    from otel_dbevents.demo import main as demo

    return demo(arguments)


def _tell(report: Report, as_json: bool) -> int:
    if as_json:
        print(json.dumps(report.to_dict(), indent=2))
    else:
        _show(report, in_colour=coloured())
    return 0 if report.ok else 1


def _show(report: Report, *, in_colour: bool) -> None:
    if report.settings:
        print("settings")
    for found in report.settings.values():
        shown = _plain(found["value"])
        print(f"  {found['variable']:<38} {shown:<10} {found['from']}")
    print("findings")
    for finding in report.findings:
        mark = f"{finding.status:<8}"
        if in_colour:
            mark = f"\x1b[{_COLOURS[finding.status]}m{mark}\x1b[0m"
        print(f"  {mark} {finding.topic}: {finding.text}")
        if finding.mend:
            print(f"           -> {finding.mend}")


def _plain(value: object) -> str:
    """Return a setting's value as its variable would have it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)

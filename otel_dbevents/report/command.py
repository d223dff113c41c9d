"""The command ``otel-dbevents report``: what it takes, what it says, and its exit status."""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from otel_dbevents.report import document, report, table
from otel_dbevents.report.files import spans_of_file
from otel_dbevents.report.findings import Report
from otel_dbevents.report.jaeger import spans_of_jaeger
from otel_dbevents.report.langfuse import client, spans_of_langfuse
from otel_dbevents.report.model import Prompt, Span
from otel_dbevents.report.shown import plain, turns
from otel_dbevents.report.sources import SourceError

_ABOUT: Final = """\
Say for each prompt, version and model where the time of its turns went: the model, the database or
the rest; how many queries a turn makes, which take the most time, which run again and again (N+1),
what failed, and since when a version has been slower. A turn is the outermost LLM span of a trace.

Sources, one at a time:
  FILE ...            what the OpenTelemetry Collector's `file` exporter wrote (JSON or protobuf,
                      plain or gzip); - reads what comes in
  --langfuse          the observations of a Langfuse project, by LANGFUSE_PUBLIC_KEY,
                      LANGFUSE_SECRET_KEY, LANGFUSE_BASE_URL; of the last day unless --since says
                      otherwise. Needs the extra: pip install 'otel-dbevents[langfuse]'
  --jaeger URL --service NAME
                      traces out of Jaeger, the newest 10,000 of the time
"""
_EXAMPLES: Final = """\
examples:
  otel-dbevents report traces.jsonl
  otel-dbevents report --langfuse --since 7d --prompt 'support-*' --html report.html
  otel-dbevents report --jaeger http://localhost:16686 --service assistant --since 2h
  xz -dc traces.jsonl.xz | otel-dbevents report - --json

Exit status: 0 there is a report, 1 there was no turn to report, 2 wrong usage, or a source that
cannot be read.
"""
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LANGFUSE_DAYS: Final = 1
_PLAIN_WIDTH: Final = 120
_INTERRUPTED: Final = 130
_STEP: Final = 1_000


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of ``otel-dbevents``."""
    parser = commands.add_parser(
        "report",
        help="say which prompts cost what in the database",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="files of OTLP, or - for what comes in")
    add("--langfuse", action="store_true", help="read a Langfuse project")
    add("--jaeger", metavar="URL", help="read from Jaeger; this is where its page is")
    add("--service", metavar="NAME", help="the service whose traces are wanted from Jaeger")
    add("--since", type=moment, metavar="WHEN", help="turns from then on: 90m, 24h, 7d, 2026-11-20")
    add("--until", type=moment, metavar="WHEN", help="turns before then; the same forms")
    add(
        "--prompt",
        action="append",
        metavar="NAME",
        help="these prompts only; * stands for anything; may be given several times",
    )
    add("--top", type=_positive, default=5, metavar="N", help="so many queries of each (default 5)")
    add("--json", action="store_true", help="print one JSON document")
    add("--html", metavar="FILE", type=Path, help="write a page that needs nothing else")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    parser: argparse.ArgumentParser = options.parser
    wrong = _misuse(options)
    if wrong:
        parser.error(wrong)
    try:
        spans, source = _source(options)
        found = report(
            _counted(spans),
            source=source,
            since_ns=_nanoseconds(options.since),
            until_ns=_nanoseconds(options.until),
            wanted=_wanted(options.prompt),
            top=options.top,
        )
    except SourceError as error:
        return _fail(str(error), error.mend, status=2)
    except KeyboardInterrupt:
        return _INTERRUPTED
    if found.total is None:
        return _nothing(found, options)
    return _tell(found, options)


def moment(text: str, now: datetime | None = None) -> datetime:
    """Return a moment: so long ago (``7d``), or a date or time of ISO 8601, UTC unless it says."""
    now = datetime.now(UTC) if now is None else now
    try:
        if ago := re.fullmatch(r"([0-9]{1,6})([mhdw])", text.strip()):
            return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: say 90m, 24h, 7d, 2w, 2026-11-20 or 2026-11-20T14:00"
        ) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _misuse(options: argparse.Namespace) -> str:
    """Return what is wrong with how the command was called; empty = nothing."""
    sources = bool(options.files) + options.langfuse + (options.jaeger is not None)
    if not sources:
        return "name a FILE, --langfuse or --jaeger URL (- reads what comes in)"
    if sources > 1:
        return "one source at a time: FILE, --langfuse or --jaeger"
    if (options.jaeger is None) != (options.service is None):
        return "--jaeger URL and --service NAME belong together"
    if options.since and options.until and options.since >= options.until:
        return "--since is not before --until"
    return ""


def _source(options: argparse.Namespace) -> tuple[Iterator[Span], str]:
    if options.langfuse:
        if options.since is None:
            end = options.until or datetime.now(UTC)
            options.since = end - timedelta(days=_LANGFUSE_DAYS)
        api, host = client()
        since = f"since {options.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        spans = spans_of_langfuse(api, options.since, options.until)
        return spans, f"Langfuse at {host} {since}"
    if options.jaeger:
        spans = spans_of_jaeger(options.jaeger, options.service, options.since, options.until)
        return spans, f"{options.service} in Jaeger"
    names = [name if name != "-" else "what came in" for name in options.files]
    source = names[0] if len(names) == 1 else f"{len(names)} files"
    return (span for name in options.files for span in spans_of_file(name)), source


def _counted(spans: Iterator[Span]) -> Iterator[Span]:
    """Say on a terminal how far it is: a project or a large file takes its time."""
    out = sys.stderr
    if not out.isatty():
        yield from spans
        return
    try:
        for number, span in enumerate(spans, 1):
            yield span
            if number % _STEP == 0:
                out.write(f"\r{number:,} spans")
                out.flush()
    finally:
        out.write("\r\x1b[K")


def _nanoseconds(time: datetime | None) -> int | None:
    return None if time is None else round(time.timestamp()) * 1_000_000_000


def _wanted(names: Sequence[str] | None) -> Callable[[Prompt], bool] | None:
    if not names:
        return None
    return lambda prompt: any(fnmatchcase(prompt.name, name) for name in names)


def _tell(found: Report, options: argparse.Namespace) -> int:
    if options.html is not None:
        from otel_dbevents.report.page import page

        try:
            options.html.write_text(page(found), encoding="utf-8")
        except OSError as error:
            return _fail(f"{options.html}: {error.strerror or error}", status=2)
    if options.json:
        _write(json.dumps(document(found), indent=2) + "\n")
    elif options.html is None:
        _write(table(found, width=_width(), coloured=coloured()))
    else:
        _write(f"{options.html}: {turns(found.total.turns if found.total else 0)}\n")
    return 0


def _nothing(found: Report, options: argparse.Namespace) -> int:
    """Say why there is nothing to say."""
    if options.json:
        _write(json.dumps(document(found), indent=2) + "\n")
    if not found.spans:
        mend = "is it a traces pipeline that wrote it, and was it flushed?"
        if options.langfuse:
            mend = "see whether the keys are this project's, and --since far enough back"
        return _fail(f"{found.source}: no spans", mend, status=1)
    if not found.seen:
        return _fail(
            f"{found.source}: {found.spans:,} spans, and none of LLM work among them",
            "LLM spans are those of Langfuse's SDK and of OpenInference, OpenLLMetry and GenAI "
            "instrumentations: are they on, and do they go where these spans go?",
            status=1,
        )
    mend = f"there are {', '.join(map(plain, found.names))}" if found.names else ""
    return _fail(
        f"{found.source}: {turns(found.seen)}, but none of that time and those prompts",
        mend,
        status=1,
    )


def _fail(message: str, mend: str = "", *, status: int) -> int:
    said = f"otel-dbevents report: {plain(message)}\n"
    sys.stderr.write(said + (f"  -> {plain(mend)}\n" if mend else ""))
    return status


def _write(text: str) -> None:
    """Write on whatever stands there for a terminal; what it has no letter for becomes ?."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - or Python complains at its end


def coloured() -> bool:
    """Whether what is printed may have colours: on a terminal that has some, unless NO_COLOR."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not plain


def _width() -> int:
    """Return the terminal's width; COLUMNS, or a usual one, where there is none."""
    return shutil.get_terminal_size((_PLAIN_WIDTH, 24)).columns

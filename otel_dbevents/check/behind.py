"""What stands behind a collector, by what the collector says of its own exporters.

A collector answers before its backends have taken anything, so that an empty export tells nothing
of them. Its own metrics do (``otelcol_exporter_*``, on port 8888 unless told otherwise): for each
exporter what was sent, what failed, and what waits in its queue.
"""

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from http.client import HTTPException
from typing import Final, TypeAlias
from urllib.error import URLError
from urllib.request import urlopen

from otel_dbevents.check import report
from otel_dbevents.check.report import Finding, short

PORT: Final = 8888
"""Where a collector tells of itself, unless it was told otherwise."""

_LINE: Final = re.compile(r"(otelcol_exporter_\w+?)(?:_total)?\{([^}]*)\} (\S+)")
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_SIGNAL: Final = {"spans": "traces", "metric_points": "metrics", "log_records": "logs"}
_LOOK_AGAIN: Final = 0.25
_WATCHED_S: Final = report.PATIENCE


@dataclass(slots=True)
class Outlet:
    """One exporter of a collector: what it sent, failed to send, and holds in its queue."""

    sent: float = 0
    failed: float = 0
    waiting: float = 0


Outlets: TypeAlias = dict[tuple[str, str], Outlet]
"""A collector's exporters by signal and name."""


def look_behind(where: str, sent: Collection[str], *, asked: bool) -> Iterator[Finding]:
    """Look at what ``where``, a collector's ``host:port`` for its own metrics, says.

    ``sent``: the signals of which something was just sent through; for those it is waited until
    the collector's exporters have passed it on. ``asked``: the address was given, not guessed.
    """
    try:
        before, now = _watch(where, sent)
    except (OSError, ValueError) as error:
        text = f"{where} does not tell of the collector's exporters: {short(error)}"
        mend = "give the address of the collector's own metrics: --collector-metrics HOST:PORT"
        yield Finding("behind", "wrong" if asked else "warning", text, mend)
        return
    for key in sorted(now):
        yield _finding(key[0], key[1], before.get(key, Outlet()), now[key])
    if not now:
        yield Finding("behind", "ok", f"the collector at {where} has sent nothing yet")


def _watch(where: str, sent: Collection[str]) -> tuple[Outlets, Outlets]:
    """Return how the exporters stand at first, and when it is known how each of them fares."""
    before = now = _read(where)
    deadline = time.monotonic() + _WATCHED_S
    while time.monotonic() < deadline:
        time.sleep(_LOOK_AGAIN)
        now = _read(where)
        if not any(_pending(before.get(key), now[key], key[0] in sent) for key in now):
            break
    return before, now


def _pending(before: Outlet | None, now: Outlet, expected: bool) -> bool:
    """Whether it is not known yet how an exporter fares."""
    before = before or Outlet()
    if now.failed > before.failed:
        return False
    return bool(now.waiting) or (expected and not now.sent)


def _finding(signal: str, name: str, before: Outlet, now: Outlet) -> Finding:
    mend = f"look whether the backend of the collector's exporter {name} runs, and its log"
    if now.failed > before.failed:
        text = f"{name} could not pass {signal} on just now: {now.failed:.0f} lost so far"
        return Finding("behind", "wrong", text, mend)
    if now.waiting:
        text = f"{name} holds {signal} back: its queue does not empty"
        return Finding("behind", "wrong", text, mend)
    if now.failed:
        text = f"{name} has lost {now.failed:.0f} of the {signal} so far, and passes them on now"
        return Finding("behind", "warning", text, "look at the log of the collector's backend")
    if not now.sent:
        text = f"{name} has had no {signal} to pass on; --send tries it"
        return Finding("behind", "ok", text)
    return Finding("behind", "ok", f"{name} passes {signal} on")


def _read(where: str) -> Outlets:
    """Return how a collector's exporters stand. Raises `OSError` when none answers."""
    try:
        with urlopen(f"http://{where}/metrics", timeout=report.PATIENCE / 2) as answer:
            text = answer.read().decode("utf-8", "replace")
    except URLError as error:
        raise OSError(short(error.reason)) from error
    except HTTPException as error:
        raise OSError(short(error)) from error
    found: Outlets = {}
    for metric, labels, value in _LINE.findall(text):
        label = dict(_LABEL.findall(labels))
        what = metric.removeprefix("otelcol_exporter_")
        kind = next((kind for kind in _SIGNAL if what.endswith(kind)), "")
        signal = _SIGNAL.get(kind) or label.get("data_type", "")
        if not signal or "exporter" not in label:
            continue
        outlet = found.setdefault((signal, label["exporter"]), Outlet())
        if what == f"sent_{kind}":
            outlet.sent += float(value)
        elif what in (f"send_failed_{kind}", f"enqueue_failed_{kind}"):
            outlet.failed += float(value)
        elif what == "queue_size":
            outlet.waiting += float(value)
    return found

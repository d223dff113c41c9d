"""Looks: a small HTTP server that says how the sidecar does.

``/healthz``: whether its work goes on at all. ``/readyz``: whether Redis and the collector are
there too; 503 and the reason where not. ``/metrics``: its numbers, as Prometheus reads them.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Final

from otel_dbevents.sidecar.handlers import Handling
from otel_dbevents.sidecar.work import Work

_STANDS_STILL_S: Final = 60.0
_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Looks(ThreadingHTTPServer):
    """Answers on ``host`` and ``port`` (0: any that is free), from `start` to `stop`.

    Raises `OSError` where the port cannot be had.
    """

    daemon_threads = True

    def __init__(
        self, work: Work, host: str, port: int, handlings: Sequence[Handling] = ()
    ) -> None:
        super().__init__((host, port), _Handler)
        self.work, self.handlings = work, handlings
        self._thread = threading.Thread(
            target=self.serve_forever, name="otel-dbevents-looks", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def answer(self, path: str) -> tuple[int, str]:
        """Return status and text for a path."""
        state = self.work.state
        stands_still = monotonic() - state.beat > _STANDS_STILL_S
        if path == "/metrics":
            return 200, "".join([*_metrics(self.work), *_of_handlers(self.handlings)])
        if path == "/healthz":
            return (503, "it stands still\n") if stands_still else (200, "ok\n")
        if path == "/readyz":
            ending = "it is about to end" if state.is_ending else ""
            wrong = [why for why in (state.redis, state.collector, ending) if why]
            return (503, "; ".join(wrong) + "\n") if wrong else (200, "ok\n")
        return 404, "there are /healthz, /readyz and /metrics\n"


class _Handler(BaseHTTPRequestHandler):
    server: Looks
    timeout = 5

    def do_GET(self) -> None:
        """Answer."""
        status, text = self.server.answer(self.path.partition("?")[0])
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", _TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the log for what matters."""


def _metrics(work: Work) -> Iterator[str]:
    counts, state = work.counts, work.state
    for name, text, value in (
        ("events_read", "Events read from the stream.", counts.read),
        ("events_handled", "Events whose telemetry was taken.", counts.handled),
        ("events_again", "Events that came back from the dead letters.", counts.again),
        ("events_duplicate", "Events that came again, and were left out.", counts.duplicates),
        ("spans_exported", "Spans that were taken.", state.spans),
        ("log_records_exported", "Log records that were taken.", state.records),
        ("export_retries", "Times that the collector did not take something.", state.retries),
    ):
        yield from _metric(f"{name}_total", "counter", text, [("", value)])
    yield from _metric(
        "events_lost_total", "counter", "Events that will not come.", _by_reason(counts.lost)
    )
    yield from _metric(
        "refused_total",
        "counter",
        "Items that the collector refused for good.",
        [(f'{{signal="{signal}"}}', number) for signal, number in dict(state.refused).items()],
    )
    yield from _metric(
        "dead_letters_total", "counter", "Entries put aside.", _by_reason(counts.dead_letters)
    )
    for name, text, number in (
        ("lag_entries", "Entries that are not handled yet.", state.waiting_entries),
        ("lag_seconds", "Age of the oldest entry that is not handled.", state.waiting_s),
        ("held_entries", "Entries in hand until the collector takes them.", state.held_entries),
        ("redis_down_seconds", "For how long Redis is not there.", _since(state.redis_since)),
        (
            "collector_down_seconds",
            "For how long the collector takes nothing.",
            _since(state.collector_since),
        ),
        ("collector_pause_seconds", "The last pause that the collector caused.", state.pause_s),
        ("redis_up", "1 when Redis answers.", 0 if state.redis else 1),
        ("collector_up", "1 when the collector took what came last.", 0 if state.collector else 1),
    ):
        yield from _metric(name, "gauge", text, [("", number)])


def _since(when: float) -> float:
    return round(monotonic() - when, 3) if when else 0.0


def _of_handlers(handlings: Sequence[Handling]) -> Iterator[str]:
    if not handlings:
        return
    for name, kind, text, field in (
        ("events_total", "counter", "Events it was given.", "handled"),
        ("retries_total", "counter", "Times that an event was tried again.", "retries"),
        ("dead_letters_total", "counter", "Events that failed three times.", "dead"),
        ("lag_entries", "gauge", "Entries that wait for it.", "waiting_entries"),
        ("lag_seconds", "gauge", "Age of the oldest that waits for it.", "waiting_s"),
    ):
        values = [
            (f'{{handler="{_escaped(each.handler.name)}"}}', getattr(each.progress, field))
            for each in handlings
        ]
        yield from _metric(f"handler_{name}", kind, text, values)
    lost = [
        (f'{{handler="{_escaped(each.handler.name)}",reason="{reason}"}}', number)
        for each in handlings
        for reason, number in dict(each.counts.lost).items()
    ]
    yield from _metric("handler_events_lost_total", "counter", "Events it will not get.", lost)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _by_reason(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(f'{{reason="{reason}"}}', number) for reason, number in dict(counts).items()]


def _metric(name: str, kind: str, text: str, values: Iterable[tuple[str, float]]) -> Iterator[str]:
    full = f"dbevents_sidecar_{name}"
    yield f"# HELP {full} {text}\n# TYPE {full} {kind}\n"
    for labels, value in values:
        yield f"{full}{labels} {value}\n"

"""One run of the demonstration: instrument, play the scenes, show, send."""

import json
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console

import otel_dbevents
from otel_dbevents.config import Config
from otel_dbevents.demo.database_driver import Dialect
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.outage import Outage
from otel_dbevents.demo.outage import play as play_outage
from otel_dbevents.demo.report import Report
from otel_dbevents.demo.scenes import OUTAGE, SCENES, Exchange, Scene, Shop
from otel_dbevents.demo.telemetry import Telemetry
from otel_dbevents.demo.terminal import WIDTH, TerminalView
from otel_dbevents.demo.to_langfuse import ToLangfuse
from otel_dbevents.events import Event
from otel_dbevents.pipeline import Pipeline

if TYPE_CHECKING:
    from otel_dbevents.demo.through_redis import Compared, ThroughRedis

SERVICE = "shop-assistant"
SLOW_QUERY_MS = 250
REPEATED_QUERIES = 10


class View(Protocol):
    """Who is told of a run: the terminal, or the report for programs."""

    def scene_begins(self, scene: Scene) -> None:
        """Take note of a scene that is about to be played."""
        ...

    def event(self, event: Event) -> None:
        """Take a domain event, on the bus's own thread."""
        ...

    def scene_ends(self, exchanges: Sequence[Exchange], spans: Sequence[ReadableSpan]) -> None:
        """Take what was said in the scene, and all its spans."""
        ...

    def outage_begins(self) -> None:
        """Take note that the database of the second act is about to be killed."""
        ...

    def outage_ends(self, outage: Outage, spans: Sequence[ReadableSpan]) -> None:
        """Take what was seen of it, and all its spans."""
        ...

    def metrics(self, points: Sequence[Point], lost: int) -> None:
        """Take the metrics of the run, and how many events were lost on the way."""
        ...

    def compared(self, compared: "Compared") -> None:
        """Take what came out of a sidecar beside it."""
        ...

    def sending(self) -> None:
        """Take note that the exporters are about to send what they still have."""
        ...


def as_json(*, beside: bool = False) -> bool:
    """Run, and print one JSON document; with ``beside`` through a sidecar, too.

    False when what came out of that was not the same.
    """
    telemetry, report = Telemetry(SERVICE), Report()
    same = play(telemetry, report, beside=beside, with_outage=not beside)
    json.dump(report.document(telemetry.sent), sys.stdout, indent=1)
    sys.stdout.write("\n")
    return same


def on_terminal(
    scenes: Collection[str] = (), picture: str | None = None, *, beside: bool = False
) -> bool:
    """Run, and show it as it happens: all of it, or only these scenes; return as `as_json` does."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    telemetry = Telemetry(SERVICE)
    console = Console(record=picture is not None, highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    view = TerminalView(console, scenes)
    view.opening()
    asked = not beside and (not scenes or OUTAGE in scenes)
    same = play(telemetry, view, beside=beside, with_outage=asked)
    view.closing(telemetry.sent)
    if picture is not None:
        _save_picture(console, Path(picture))
    return same


def play(
    telemetry: Telemetry, view: View, *, beside: bool = False, with_outage: bool = True
) -> bool:
    """Play the scenes one after the other, and send what the exporters have not sent yet.

    The second act needs nothing of the scenes: ``with_outage`` false leaves it out.
    With ``beside`` the events also go through a Redis to a sidecar; False when what that sent is
    not the same. Raises `LookupError` where the two cannot be run.
    """
    tracer = telemetry.tracer_provider.get_tracer("shop_assistant")
    langfuse = ToLangfuse(telemetry)
    same = True
    with ExitStack() as stack:
        stack.callback(telemetry.close)
        second = Telemetry(SERVICE) if with_outage else None  # its pipeline has its own meters
        if second is not None:
            stack.callback(second.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="otel-dbevents-")))
        there = stack.enter_context(_through_redis(folder, telemetry)) if beside else None
        pipeline = stack.enter_context(_instrumented(telemetry, view))
        if there is not None:
            there.join(pipeline)
        shop = Shop(folder, tracer, langfuse.asked)
        try:
            for scene in SCENES:
                view.scene_begins(scene)
                exchanges = scene.play(shop)
                pipeline.flush()
                spans = telemetry.take_spans()
                view.scene_ends(exchanges, spans)
                if there is not None:
                    there.keep(spans)
            points = telemetry.read_metrics()
            lost = sum(pipeline.lost().values())
            if second is None:
                view.metrics(points, lost)
            else:
                view.outage_begins()
                outage = play_outage(folder, second, view.event)
                view.outage_ends(outage, second.take_spans())
                view.metrics([*points, *outage.after], lost + outage.lost)
            if there is not None:
                compared = there.compared(points)
                view.compared(compared)
                same = compared.same
            if telemetry.sent:
                view.sending()
                telemetry.send()
                if second is not None:
                    second.send()
                    telemetry.add(second.sent)
        finally:
            shop.close()
            langfuse.close()
    return same


@contextmanager
def _through_redis(folder: Path, telemetry: Telemetry) -> "Iterator[ThroughRedis]":
    """Run what is needed for it; here, since it is imported only where it is asked for."""
    from otel_dbevents.demo.through_redis import through_redis

    with through_redis(folder, telemetry) as there:
        yield there


@contextmanager
def _instrumented(telemetry: Telemetry, view: View) -> Iterator[Pipeline]:
    """Watch every engine that there is within the block, and tell the view of each event."""
    try:
        pipeline = otel_dbevents.instrument(
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
            logger_provider=telemetry.logger_provider,
            config=Config(
                slow_query_ms=SLOW_QUERY_MS,
                repeated_queries=REPEATED_QUERIES,
                bus_url="memory://",
                health_interval_s=0,
            ),
            engine_filter=lambda engine: engine.dialect.driver != Dialect.driver,
        )
        telling = pipeline.bus.handle(view.event)
        yield pipeline
        telling.cancel()
    finally:
        otel_dbevents.uninstrument()


def _save_picture(console: Console, file: Path) -> None:
    """Save what was shown as SVG, with the reader's own fonts instead of ones from the network."""
    svg = console.export_svg(title="otel-dbevents demo")
    file.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")

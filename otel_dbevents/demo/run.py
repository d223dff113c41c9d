"""One run of the demonstration: instrument, play the scenes, show, send."""

import json
import re
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Protocol

from opentelemetry.sdk.trace import ReadableSpan
from rich.console import Console

import otel_dbevents
from otel_dbevents.config import Config
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.report import Report
from otel_dbevents.demo.scenes import SCENES, Exchange, Scene, Shop
from otel_dbevents.demo.telemetry import Telemetry
from otel_dbevents.demo.terminal import WIDTH, TerminalView
from otel_dbevents.demo.to_langfuse import ToLangfuse
from otel_dbevents.events import Event
from otel_dbevents.pipeline import Pipeline

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

    def metrics(self, points: Sequence[Point], lost: int) -> None:
        """Take the metrics of the run, and how many events were lost on the way."""
        ...

    def sending(self) -> None:
        """Take note that the exporters are about to send what they still have."""
        ...


def as_json() -> None:
    """Run, and print one JSON document."""
    telemetry, report = Telemetry(SERVICE), Report()
    play(telemetry, report)
    json.dump(report.document(telemetry.sent), sys.stdout, indent=1)
    sys.stdout.write("\n")


def on_terminal(scenes: Collection[str] = (), picture: str | None = None) -> None:
    """Run, and show it as it happens: all of it, or only these scenes."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    telemetry = Telemetry(SERVICE)
    console = Console(record=picture is not None, highlight=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    view = TerminalView(console, scenes)
    view.opening()
    play(telemetry, view)
    view.closing(telemetry.sent)
    if picture is not None:
        _save_picture(console, Path(picture))


def play(telemetry: Telemetry, view: View) -> None:
    """Play the scenes one after the other, and send what the exporters have not sent yet."""
    tracer = telemetry.tracer_provider.get_tracer("shop_assistant")
    langfuse = ToLangfuse(telemetry)
    with (
        tempfile.TemporaryDirectory(prefix="otel-dbevents-") as folder,
        _instrumented(telemetry, view) as pipeline,
    ):
        shop = Shop(Path(folder), tracer, langfuse.asked)
        try:
            for scene in SCENES:
                view.scene_begins(scene)
                exchanges = scene.play(shop)
                pipeline.flush()
                view.scene_ends(exchanges, telemetry.take_spans())
            view.metrics(telemetry.read_metrics(), sum(pipeline.lost().values()))
            if telemetry.sent:
                view.sending()
                telemetry.send()
        finally:
            shop.close()
            langfuse.close()


@contextmanager
def _instrumented(telemetry: Telemetry, view: View) -> Iterator[Pipeline]:
    """Watch every engine that there is within the block, and tell the view of each event."""
    try:
        pipeline = otel_dbevents.instrument(
            tracer_provider=telemetry.tracer_provider,
            meter_provider=telemetry.meter_provider,
            logger_provider=telemetry.logger_provider,
            config=Config(slow_query_ms=SLOW_QUERY_MS, repeated_queries=REPEATED_QUERIES),
        )
        telling = pipeline.bus.handle(view.event)
        yield pipeline
        telling.cancel()
    finally:
        otel_dbevents.uninstrument()
        telemetry.close()


def _save_picture(console: Console, file: Path) -> None:
    """Save what was shown as SVG, with the reader's own fonts instead of ones from the network."""
    svg = console.export_svg(title="otel-dbevents demo")
    file.write_text(re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL), encoding="utf-8")

"""What it costs, as ratios: bare SQLAlchemy, two empty listeners, contrib's instrumentor, and ours.

All variants alternate in one process, in rotated order; what is told is the median of the rounds,
less the bare one. "thread" is the CPU time of the calling thread, "process" that of the whole
process, workers included. Each variant's spans are counted, so that none is fast by doing nothing.

    make bench
"""

import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from sqlalchemy import Engine, create_engine, event, text

from otel_dbevents import Pipeline

ROUNDS = 15
STATEMENTS = 400
CONNECTS = 60
SELECT = text("SELECT 1")


class Counting(SpanExporter):
    """Takes spans and only counts them."""

    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


@dataclass
class Variant:
    """An engine, instrumented in one way, and what its rounds took in nanoseconds."""

    name: str
    engine: Engine
    provider: TracerProvider | None = None
    exporter: Counting | None = None
    thread: dict[str, list[float]] = field(default_factory=dict)
    process: dict[str, list[float]] = field(default_factory=dict)

    def settle(self) -> None:
        """Let the workers finish, so that their work is in this round."""
        if self.provider is not None:
            self.provider.force_flush()


def telemetry(sampler: Any) -> tuple[TracerProvider, Counting]:
    exporter = Counting()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=1_000_000))
    return provider, exporter


def variants(directory: str) -> list[Variant]:
    """Make one engine for each variant, all on files of their own."""

    def engine(name: str) -> Engine:
        return create_engine(f"sqlite:///{directory}/{name.replace(' ', '-')}.db")

    made = [Variant("bare", engine("bare")), Variant("two empty listeners", engine("empty"))]
    event.listen(made[1].engine, "before_cursor_execute", lambda *_: None)
    event.listen(made[1].engine, "after_cursor_execute", lambda *_: None)
    for name, sampler in (("contrib", ALWAYS_ON), ("contrib unsampled", ALWAYS_OFF)):
        provider, exporter = telemetry(sampler)
        made.append(Variant(name, engine(name), provider, exporter))
        # one instance each: the package's own class is a singleton that instruments only once
        instrumentor = object.__new__(SQLAlchemyInstrumentor)
        instrumentor._instrument(engine=made[-1].engine, tracer_provider=provider)
    for name, sampler in (("ours", ALWAYS_ON), ("ours unsampled", ALWAYS_OFF)):
        provider, exporter = telemetry(sampler)
        made.append(Variant(name, engine(name), provider, exporter))
        meters = MeterProvider([InMemoryMetricReader()])
        Pipeline(tracer_provider=provider, meter_provider=meters).attach(made[-1].engine)
    return made


def held(engine: Engine) -> int:
    """Run one statement again and again on a connection that is held."""
    with engine.connect() as connection:
        for _ in range(STATEMENTS):
            connection.execute(SELECT).all()
    return STATEMENTS


def connects(engine: Engine) -> int:
    """Open a new connection, and close it, again and again."""
    for _ in range(CONNECTS):
        engine.connect().close()
        engine.dispose()
    return CONNECTS


WORK: dict[str, Callable[[Engine], int]] = {"statement": held, "connect": connects}


def measure(variant: Variant, name: str) -> None:
    work = WORK[name]
    gc.collect()
    thread, process = time.thread_time_ns(), time.process_time_ns()
    operations = work(variant.engine)
    on_thread = time.thread_time_ns() - thread
    variant.settle()
    in_process = time.process_time_ns() - process
    variant.thread.setdefault(name, []).append(on_thread / operations)
    variant.process.setdefault(name, []).append(in_process / operations)


def table(made: list[Variant], name: str) -> dict[str, dict[str, float]]:
    """Return what each variant adds to the bare one, in microseconds."""

    def median(values: list[float]) -> float:
        return statistics.median(values) / 1000

    bare = made[0]
    rows = {"bare": {"thread": median(bare.thread[name]), "process": median(bare.process[name])}}
    for variant in made[1:]:
        rows[variant.name] = {
            "thread": median(variant.thread[name]) - rows["bare"]["thread"],
            "process": median(variant.process[name]) - rows["bare"]["process"],
        }
    return rows


def show(name: str, rows: dict[str, dict[str, float]]) -> None:
    print(f"\n{name}: bare {rows['bare']['thread']:.1f} us; added, and as a share of contrib's")
    for variant, added in rows.items():
        if variant == "bare":
            continue
        reference = rows["contrib unsampled" if variant.endswith("unsampled") else "contrib"]
        shares = [added[kind] / reference[kind] for kind in ("thread", "process")]
        print(
            f"  {variant:22} thread {added['thread']:7.1f} us  x{shares[0]:5.2f}"
            f"   process {added['process']:7.1f} us  x{shares[1]:5.2f}"
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        made = variants(directory)
        for variant in made:  # what is made once is made before
            for work in WORK.values():
                work(variant.engine)
        for number in range(ROUNDS):
            for name in WORK:
                turn = number % len(made)
                for variant in made[turn:] + made[:turn]:
                    measure(variant, name)
        for variant in made:
            variant.settle()
            expected = (ROUNDS + 1) * STATEMENTS
            if variant.exporter and not variant.name.endswith("unsampled"):
                assert variant.exporter.spans >= expected, (variant.name, variant.exporter.spans)
        results = {name: table(made, name) for name in WORK}
    for name, rows in results.items():
        show(name, rows)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()

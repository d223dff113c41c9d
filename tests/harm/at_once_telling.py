"""Scenes of `tests.harm.at_once`: what many threads tell, from the bus to the spans."""

from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import create_engine, text

import otel_dbevents
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.events import RepeatedQueryDetected
from otel_dbevents.exporters.outbox import Limits, Outbox
from tests.bus.contract import failed
from tests.harm.crowd import counted
from tests.harm.together import SELECT, THREADS, at_once
from tests.services.process import wait_until


def the_bus(_folder: Path) -> None:
    """Each event is delivered or counted, in its publisher's order."""
    bus, each, got, ends = MemoryBus(history=0, capacity=200), 400, Counter[str](), set[Any]()
    last: dict[str, int] = {}

    def consume(batch: Any) -> None:
        for told, _ in batch:
            assert last.get(told.error_message, -1) < told.retry_count
            last[told.error_message] = told.retry_count
            got[told.error_message] += 1

    held = bus.subscribe(consume)
    bus.handle(lambda told: ends.add((told.error_message, told.retry_count)), capacity=100_000)

    def work(number: int) -> None:
        publish = bus.publish if number % 2 else bus.publish_from_finalizer
        for run in range(each):
            publish(failed(run, str(number)))

    at_once(work)
    assert bus.close(60)
    assert len(ends) == THREADS * each
    assert set(held.lost) <= {"queue_full"}, held.lost
    assert sum(got.values()) + held.lost.get("queue_full", 0) == THREADS * each


def the_outbox(_folder: Path) -> None:
    """Each item is exported or counted, also where it is put in as the outbox ends."""
    for size in (64, 2000):
        sent = list[int]()
        outbox: Outbox[int] = Outbox(
            lambda batch, sent=sent: sent.extend(batch) or True,  # type: ignore[misc]
            Limits(queue_size=size, batch_size=64, delay_s=60),
            "items",
        )

        def work(number: int, outbox: Outbox[int] = outbox) -> None:
            for run in range(400):
                outbox.put(number)
                if number == 0 and run == 300:
                    outbox.give_up()

        with patch("otel_dbevents.exporters.outbox.tell_lost", lambda *_: True):
            at_once(work)
            outbox.close(60)
            wait_until(lambda outbox=outbox: not outbox._in_flight)  # type: ignore[misc]
        assert outbox._error == ""
        assert len(sent) + sum(outbox.lost.values()) == THREADS * 400, (len(sent), outbox.lost)


def one_pipeline(_folder: Path) -> None:
    """However many turn it on: there is one pipeline."""
    for _ in range(5):
        found = set[int]()
        at_once(lambda _, found=found: found.add(id(otel_dbevents.instrument())))  # type: ignore[misc]
        otel_dbevents.uninstrument()
        assert len(found) == 1


def spans_and_numbers(folder: Path) -> None:
    """Each query is one span below its own, and one in the histogram, read meanwhile or not."""
    exporter, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    tracer, each = tracers.get_tracer("the application"), 12
    engine = create_engine(f"sqlite:///{folder / 'spans.db'}", pool_size=THREADS)
    pipeline = otel_dbevents.instrument(
        engine, tracer_provider=tracers, meter_provider=MeterProvider([reader])
    )

    def work(number: int) -> None:
        for run in range(each):
            with tracer.start_as_current_span(f"work {number}"), engine.connect() as connection:
                connection.execute(text(f"SELECT {run} AS by{number}")).all()
            if number == 0:
                reader.collect()

    at_once(work)
    assert pipeline.flush(60)
    assert not pipeline.lost(), pipeline.lost()
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    below = Counter(
        (span.attributes["db.query.text"].rpartition("by")[2], spans[span.parent.span_id].name)
        for span in spans.values()
        if "db.query.text" in span.attributes
    )
    total = counted(reader)
    otel_dbevents.uninstrument()
    assert below == {(str(n), f"work {n}"): each for n in range(THREADS)}
    assert total == THREADS * each


def one_prompt(folder: Path) -> None:
    """What many threads do for one prompt adds up on it, and on what each did of its own."""
    tracers, each, ended = TracerProvider(), 10, list[Any]()
    tracer, agent = tracers.get_tracer("agents"), {"gen_ai.operation.name": "invoke_agent"}
    engine = create_engine(f"sqlite:///{folder / 'prompt.db'}", pool_size=THREADS)
    otel_dbevents.instrument(engine, tracer_provider=tracers)
    with tracer.start_as_current_span("prompt", attributes=agent) as prompt:

        def work(_number: int) -> None:
            under = trace.set_span_in_context(prompt)
            with (
                tracer.start_as_current_span("tool", under, attributes=agent) as tool,
                engine.connect() as connection,
            ):
                for _ in range(each):
                    connection.execute(SELECT).all()
            ended.append(tool)

        with patch("otel_dbevents.llm.nodes._LONGEST_S", 60):  # a busy machine is no error
            at_once(work)
    otel_dbevents.uninstrument()
    said = [span.attributes["langfuse.observation.metadata.db_query_count"] for span in ended]
    assert said == [each] * THREADS
    whole: Any = prompt
    said = whole.attributes["langfuse.observation.metadata.db_query_count"]
    assert said == THREADS * each


def a_repetition(folder: Path) -> None:
    """What many threads repeat under one span is one repetition: counted whole, with its line."""
    tracers, found = TracerProvider(), list[RepeatedQueryDetected]()
    engine = create_engine(f"sqlite:///{folder / 'again.db'}", pool_size=THREADS)
    pipeline = otel_dbevents.instrument(engine, tracer_provider=tracers)
    pipeline.bus.subscribe_inline(lambda told, _: found.append(told), RepeatedQueryDetected)
    with tracers.get_tracer("the application").start_as_current_span("work") as span:
        under = trace.set_span_in_context(span)

        def work(_number: int) -> None:
            token = otel_context.attach(under)
            with engine.connect() as connection:
                for _ in range(15):
                    connection.execute(SELECT).all()
            otel_context.detach(token)

        with patch("otel_dbevents.bursts._QUIET_NS", 3600 * 10**9):  # however busy the machine
            at_once(work)
            assert pipeline.flush(60)
    otel_dbevents.uninstrument()
    assert sum(each.count for each in found) == THREADS * 15, found
    assert found[0].called_from is not None
    assert found[0].called_from.file_path.endswith("at_once_telling.py")

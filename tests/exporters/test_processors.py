"""The processors that count: what is made is delivered or counted, by reason, in bounded memory."""

import gc
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from otel_dbevents import unreachable
from otel_dbevents.bridge import Bridge
from otel_dbevents.bridge.late import Late
from otel_dbevents.events import new_id
from otel_dbevents.exporters.destination import Destination
from otel_dbevents.exporters.langfuse import ObservationProcessor
from otel_dbevents.exporters.outbox import Limits, Outbox
from otel_dbevents.exporters.processors import CountingLogRecordProcessor, CountingSpanProcessor
from tests.bridge.support import executed
from tests.services.process import wait_until

NEVER_S = 3600.0
"""A delay that no test waits for."""


class Exporter(SpanExporter):
    """Answers what it is told to, and lists what it delivered; closed, it holds each batch up."""

    def __init__(self, answer: Any = SpanExportResult.SUCCESS) -> None:
        self.answer = answer
        self.delivered: list[str] = []
        self.batches: list[int] = []
        self.open = threading.Event()
        self.open.set()
        self.called = threading.Event()
        self.shut = 0

    def export(self, spans: Sequence[ReadableSpan]) -> Any:
        self.batches.append(len(spans))
        self.called.set()
        self.open.wait(60)
        if isinstance(self.answer, BaseException):
            raise self.answer
        if self.answer is not SpanExportResult.FAILURE:
            self.delivered += [span.name for span in spans]
        return self.answer

    def shutdown(self) -> None:
        self.shut += 1
        self.open.set()


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreachable._one_line, "_counted_at", -3600.0)


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    made = Exporter()
    yield made
    made.open.set()


@pytest.fixture
def processing(exporter: Exporter) -> Iterator[Callable[..., CountingSpanProcessor]]:
    made: list[CountingSpanProcessor] = []
    before = set(threading.enumerate())

    def process(queue: int = 100, batch: int = 10, delay_s: float = NEVER_S) -> Any:
        limits = Limits(queue, batch, delay_s)
        made.append(CountingSpanProcessor(exporter, limits, shutdown_s=5))
        return made[-1]

    yield process
    exporter.open.set()
    for each in made:
        each.give_up()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("otel-dbevents-send"):
            thread.join(60)  # what it says late is said in this test


def spans(processor: CountingSpanProcessor, number: int, prefix: str = "span") -> list[str]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    names = [f"{prefix} {n}" for n in range(number)]
    for name in names:
        provider.get_tracer("test").start_span(name).end()
    return names


def test_what_is_left_as_a_whole_is_sent_or_counted_as_if_it_came_by_itself(
    exporter: Exporter, processing: Callable[..., CountingSpanProcessor]
) -> None:
    processor = processing(queue=8, batch=4)
    spans = [ReadableSpan(str(number)) for number in range(20)]
    exporter.open.clear()
    processor.on_all_ended(spans[:4])
    assert exporter.called.wait(60)
    processor.on_all_ended(spans[4:])
    assert processor.lost == {"queue_full": 8}
    exporter.open.set()
    assert processor.force_flush()
    assert exporter.delivered == [str(number) for number in (*range(4), *range(12, 20))]
    processor.give_up()
    processor.on_all_ended(spans[:3])
    assert processor.lost == {"queue_full": 8, "shutdown": 3}


def test_who_takes_each_span_himself_is_not_passed_by() -> None:
    class Own(CountingSpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            super().on_end(span)

    assert hasattr(CountingSpanProcessor.on_end, "for_all")
    assert not hasattr(Own.on_end, "for_all")


def test_a_full_batch_is_sent_without_waiting(exporter, processing):
    names = spans(processing(), 10)
    wait_until(lambda: exporter.delivered == names)


def test_a_part_of_a_batch_is_sent_after_the_delay(exporter, processing):
    names = spans(processing(delay_s=0.01), 3)
    wait_until(lambda: exporter.delivered == names)


def test_a_flush_sends_all_in_their_order_and_in_batches(exporter, processing):
    processor = processing(queue=1000, batch=10)
    names = spans(processor, 95)
    assert processor.force_flush()
    assert exporter.delivered == names
    assert max(exporter.batches) == 10
    assert processor.lost == {}


def test_a_flush_keeps_to_its_time_and_says_so(exporter, processing):
    processor = processing()
    exporter.open.clear()
    spans(processor, 3)
    assert not processor.force_flush(10)
    exporter.open.set()
    assert processor.force_flush()
    assert len(exporter.delivered) == 3


def test_what_was_not_sampled_is_neither_sent_nor_lost(exporter, processing):
    processor = processing()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(processor)
    provider.get_tracer("test").start_span("a").end()
    assert processor.force_flush()
    assert (exporter.delivered, processor.lost) == ([], {})


def test_full_the_oldest_give_way_and_each_is_counted(exporter, processing):
    processor = processing(queue=20, batch=10)
    exporter.open.clear()
    spans(processor, 10, "under way")
    exporter.called.wait(60)
    names = spans(processor, 1000)
    assert processor.lost == {"queue_full": 980}
    exporter.open.set()
    assert processor.force_flush()
    assert exporter.delivered[10:] == names[-20:]
    assert len(exporter.delivered) + sum(processor.lost.values()) == 1010


@pytest.mark.parametrize(
    "answer",
    [
        SpanExportResult.FAILURE,
        pytest.param(ValueError("x"), marks=pytest.mark.swallows),
        pytest.param(SystemExit(1), marks=pytest.mark.swallows),
    ],
)
def test_a_batch_that_the_exporter_did_not_deliver_is_counted_and_the_next_is_sent(
    exporter, processing, answer
):
    processor = processing()
    exporter.answer = answer
    spans(processor, 7)
    assert processor.force_flush()
    assert processor.lost == {"export_failed": 7}
    exporter.answer = SpanExportResult.SUCCESS
    names = spans(processor, 5)
    assert processor.force_flush()
    assert exporter.delivered == names
    assert processor.lost == {"export_failed": 7}


def test_an_exporter_that_answers_nothing_is_believed(exporter, processing):
    processor = processing()
    exporter.answer = None
    names = spans(processor, 5)
    assert processor.force_flush()
    assert (exporter.delivered, processor.lost) == (names, {})


def test_shut_down_it_sends_what_is_left_and_counts_what_comes_after(exporter, processing):
    processor = processing()
    names = spans(processor, 5)
    processor.shutdown()
    assert exporter.delivered == names
    spans(processor, 3, "late")
    assert processor.lost == {"shutdown": 3}
    processor.shutdown()
    assert exporter.shut == 1


def test_what_was_not_sent_in_time_is_counted_and_nothing_is_waited_for(exporter, processing):
    processor = processing()
    processor._shutdown_s = 0.05
    exporter.open.clear()
    spans(processor, 25)
    processor.shutdown()
    assert processor.lost == {"shutdown": 25}


def test_a_batch_that_arrives_after_all_was_given_up_is_not_counted_as_lost(exporter, processing):
    processor = processing()
    exporter.open.clear()
    spans(processor, 25)
    exporter.called.wait(60)
    processor.give_up()
    assert processor.lost == {"shutdown": 25}
    exporter.open.set()
    wait_until(lambda: processor.lost == {"shutdown": 15})
    assert len(exporter.delivered) == 10


def test_a_worker_that_was_about_to_send_as_all_was_given_up_sends_nothing_more():
    sent = list[int]()
    outbox: Outbox[int] = Outbox(
        lambda batch: not sent.extend(batch), Limits(4, 4, NEVER_S), "items"
    )
    outbox.give_up()
    outbox.put(1)
    outbox._send()  # it had looked before that
    assert (sent, outbox.lost) == ([], {"shutdown": 1})


def test_a_flush_that_waits_while_all_is_given_up_ends(exporter, processing):
    processor = processing()
    exporter.open.clear()
    spans(processor, 25)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(processor.force_flush(60_000)))
    waiting.start()
    exporter.called.wait(60)
    processor.give_up()
    waiting.join(60)
    assert answers == [False]


def test_many_threads_lose_nothing_uncounted(exporter, processing):
    processor = processing(queue=50, batch=50)
    writers = [threading.Thread(target=spans, args=(processor, 2000)) for _ in range(8)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert processor.force_flush()
    assert processor.lost.get("queue_full", 0) > 0
    assert len(exporter.delivered) + sum(processor.lost.values()) == 16_000


def test_a_full_queue_that_says_one_too_many_for_a_moment_costs_nothing(exporter):
    """As without a GIL, when it is looked at while an item takes the place of the oldest."""

    class OneTooMany(deque[int]):
        def __len__(self) -> int:
            return super().__len__() + 1

    outbox: Outbox[int] = Outbox(lambda _: True, Limits(4, 4, NEVER_S), "items")
    outbox._items = OneTooMany(range(3), maxlen=4)
    assert outbox._take(4) == [0, 1, 2]
    outbox.give_up()


@pytest.mark.swallows
def test_losses_are_said_in_one_line_a_minute_with_their_number_and_reason(
    exporter, processing, caplog, monkeypatch
):
    processor = processing()
    exporter.answer = SpanExportResult.FAILURE
    for _ in range(3):
        spans(processor, 10)
        assert processor.force_flush()
    [line] = caplog.messages
    assert line == "10 spans so far were lost: 10 export_failed (said once a minute at most)"
    monkeypatch.setattr(unreachable._one_line, "_counted_at", -3600.0)
    exporter.answer = RuntimeError("a secret")
    spans(processor, 10)
    assert processor.force_flush()
    wait_until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[1].startswith("40 spans so far were lost: 40 export_failed; the exp")
    assert "secret" not in caplog.text
    assert "RuntimeError" in caplog.text


@pytest.mark.swallows
def test_what_cannot_be_taken_is_counted_and_the_application_does_not_hear_of_it(
    exporter, processing
):
    processor = processing()
    names = spans(processor, 1)
    with pytest.MonkeyPatch.context() as patch:

        def refuse(_):
            raise MemoryError

        patch.setattr(processor._outbox, "_append", refuse)
        spans(processor, 2)
    assert processor.force_flush()
    assert (exporter.delivered, processor.lost) == (names, {"error": 2})
    records = CountingLogRecordProcessor(Records(), Limits(10, 10, NEVER_S))
    records.on_emit(object())
    assert records.lost == {"error": 1}
    records.give_up()


@pytest.mark.swallows
def test_the_worker_outlives_an_error_of_ours(exporter, processing):
    processor = processing(delay_s=0.01)
    with pytest.MonkeyPatch.context() as patch:
        failed = threading.Event()

        def fail(_):
            failed.set()
            raise MemoryError

        patch.setattr(processor._outbox, "_take", fail)
        names = spans(processor, 3)
        assert failed.wait(60)
    wait_until(lambda: exporter.delivered == names)


def test_whoever_asks_sees_that_nothing_is_done_when_a_span_starts():
    assert CountingSpanProcessor.on_start is BatchSpanProcessor.on_start


def test_the_exporter_is_called_with_instrumentation_suppressed(exporter, processing):
    seen: list[object] = []
    exporter.export = lambda _: seen.append(otel_context.get_value("suppress_instrumentation"))
    processor = processing()
    spans(processor, 1)
    assert processor.force_flush()
    assert seen == [True]


def test_it_ends_with_its_last_reference(exporter):
    processor = CountingSpanProcessor(exporter, Limits(10, 10, NEVER_S))
    before = threading.active_count()
    gone = weakref.ref(processor._outbox)
    del processor
    gc.collect()
    assert gone() is None
    wait_until(lambda: threading.active_count() < before)


class Records:
    """A log exporter in memory, the same for every version of the SDK."""

    def __init__(self) -> None:
        self.delivered: list[Any] = []
        self.answer: Any = SpanExportResult.SUCCESS

    def export(self, batch: Any) -> Any:
        if self.answer is SpanExportResult.SUCCESS:
            self.delivered += batch
        return self.answer

    def shutdown(self) -> None:
        """Nothing to do."""


def test_log_records_are_sent_and_counted_alike():
    exporter = Records()
    processor = CountingLogRecordProcessor(exporter, Limits(100, 10, NEVER_S))
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    context = otel_context.set_value("large", object())
    for n in range(25):
        provider.get_logger("test").emit(LogRecord(body=str(n), context=context))
    assert provider.force_flush()
    assert [each.log_record.body for each in exporter.delivered] == [str(n) for n in range(25)]
    assert all(not each.log_record.context for each in exporter.delivered)
    assert all(each.resource is provider.resource for each in exporter.delivered)
    exporter.answer = SpanExportResult.FAILURE
    provider.get_logger("test").emit(LogRecord(body="lost"))
    assert provider.force_flush()
    provider.shutdown()
    provider.get_logger("test").emit(LogRecord(body="late"))
    assert processor.lost == {"export_failed": 1, "shutdown": 1}


@pytest.mark.parametrize(
    ("prefix", "kind", "delay_s"),
    [("OTEL_BSP", CountingSpanProcessor, 5), ("OTEL_BLRP", CountingLogRecordProcessor, 1)],
)
def test_the_limits_are_those_of_the_standard_variables(
    exporter, monkeypatch, caplog, prefix, kind, delay_s
):
    def limits():
        made = kind(exporter)
        made.give_up()
        return made._outbox._limits

    for name in ("MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE", "SCHEDULE_DELAY"):
        monkeypatch.delenv(f"{prefix}_{name}", raising=False)
    assert limits() == Limits(2048, 512, delay_s)
    monkeypatch.setenv(f"{prefix}_MAX_QUEUE_SIZE", "700")
    monkeypatch.setenv(f"{prefix}_MAX_EXPORT_BATCH_SIZE", "70")
    monkeypatch.setenv(f"{prefix}_SCHEDULE_DELAY", "250")
    assert limits() == Limits(700, 70, 0.25)
    monkeypatch.setenv(f"{prefix}_MAX_QUEUE_SIZE", "many")
    assert limits().queue_size == 2048
    assert f"{prefix}_MAX_QUEUE_SIZE takes a whole number" in caplog.text
    for wrong in ("0", "-1", "60"):
        monkeypatch.setenv(f"{prefix}_MAX_QUEUE_SIZE", wrong)
        with pytest.raises(ValueError, match=r"above 0|does not fit"):
            limits()


FORKED = """
import os, signal, sys, threading
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from otel_dbevents.exporters.outbox import Limits
from otel_dbevents.exporters.processors import CountingSpanProcessor

exporter = InMemorySpanExporter()
processor = CountingSpanProcessor(exporter, Limits(100, 100, 3600))
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(processor)
tracer = provider.get_tracer("test")
tracer.start_span("of the parent").end()
holding, forked = threading.Event(), threading.Event()
def hold():
    with processor._outbox._lock:
        holding.set()
        forked.wait(60)
threading.Thread(target=hold).start()
holding.wait(60)
child = os.fork()
if not child:
    signal.alarm(60)
    tracer.start_span("of the child").end()
    sent = processor.force_flush(30_000)
    names = [span.name for span in exporter.get_finished_spans()]
    os._exit(0 if sent and names == ["of the child"] and not processor.lost else 1)
forked.set()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert processor.force_flush(30_000)
assert [span.name for span in exporter.get_finished_spans()] == ["of the parent"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_sends_its_own_and_the_parent_its_own():
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], check=True, timeout=120)


def test_what_is_said_at_the_logger_is_held_to_the_minute_by_any_other_line(caplog):
    unreachable._one_line._said.clear()
    with caplog.at_level(logging.WARNING):
        assert unreachable._one_line.is_due("collector:4317", "UNAVAILABLE")
        assert not unreachable.tell_lost("spans", {"queue_full": 1})
    assert not caplog.messages
    unreachable._one_line._said.clear()


def test_langfuses_processor_does_not_look_at_a_plain_query_to_pass_it_by() -> None:
    exported: list[str] = []
    processor = ObservationProcessor(Destination("http://127.0.0.1:9", "pk-lf-1", "sk-lf-1"))
    processor._outbox._export = lambda batch: not exported.extend(span.name for span in batch)
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(processor)
    tracers.add_span_processor(kept := Looking())
    told = [executed(id=new_id()), executed(id=new_id(), attributes={"dbevents.langfuse": True})]
    above = SpanContext(5, 6, is_remote=False, trace_flags=TraceFlags(1))
    context = set_span_in_context(NonRecordingSpan(above), Context())
    Bridge(tracers, None, None).consume([(event, context) for event in told])
    assert kept.kinds == [Late, ReadableSpan]
    assert processor.force_flush()
    assert exported == ["SELECT customers"]
    processor.on_all_ended([ReadableSpan("not chosen")])
    assert processor.force_flush()
    assert exported == ["SELECT customers"]
    processor.give_up()


class Looking(SpanProcessor):
    """Sees of which kind the spans are after the processors before it."""

    def __init__(self) -> None:
        self.kinds: list[type] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.kinds.append(type(span))

"""What every bus promises, as tests. A backend derives from `BusContract` and says what it has.

Nothing here waits for a time to pass: `PATIENCE` only ends a test that would hang.
"""

import asyncio
import gc
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from opentelemetry import context as otel_context
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otel_dbevents.bus import Delivery, EventBus
from otel_dbevents.events import (
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    Environment,
    Event,
    HealthStatus,
)
from tests.services.process import wait_until

PATIENCE = 30.0

Make = Callable[..., EventBus]


def checked(number: int) -> DatabaseHealthCheckCompleted:
    """Return a numbered event."""
    return DatabaseHealthCheckCompleted(status=HealthStatus.HEALTHY, latency_ms=number)


def failed(number: int, by: str = "") -> DatabaseConnectionFailed:
    """Return a numbered event of another type, with its publisher's name."""
    return DatabaseConnectionFailed(
        environment=Environment.LOCAL, error_message=by, retry_count=number
    )


@dataclass
class Sink:
    """A consumer that keeps what it gets."""

    deliveries: list[Delivery] = field(default_factory=list)

    def __call__(self, batch: Sequence[Delivery]) -> None:
        self.deliveries.extend(batch)

    @property
    def events(self) -> list[Event]:
        return [event for event, _ in self.deliveries]


class Gate:
    """A consumer and handler that stands still at its first call until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()
        self.got: list[Any] = []

    def __call__(self, given: Any) -> None:
        self.entered.set()
        assert self.opened.wait(PATIENCE)
        self.got.extend(given if isinstance(given, list) else [given])


def publish_in_threads(bus: EventBus, threads: int, each: int) -> None:
    """Publish numbered events from several threads that start at one moment."""
    start = threading.Barrier(threads)

    def run(name: str) -> None:
        start.wait(PATIENCE)
        for number in range(each):
            bus.publish(failed(number, name))

    running = [threading.Thread(target=run, args=(f"t{n}",)) for n in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def numbers_by_publisher(events: Sequence[Event]) -> Mapping[str, list[int]]:
    """Return the numbers of `publish_in_threads`' events in the order of their arrival."""
    found: dict[str, list[int]] = {}
    for event in events:
        assert isinstance(event, DatabaseConnectionFailed)
        found.setdefault(event.error_message, []).append(event.retry_count)
    return found


def in_child(work: Callable[[], object]) -> str:
    """Run ``work`` in a forked child and return what it returns, as text."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: that is the test
        pid = os.fork()
    if pid == 0:  # pragma: no cover - the child's report is its only trace
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


class BusContract:
    """Derive, and return a bus from `make`. A test that cannot hold of a backend is None there."""

    has_context: ClassVar[bool] = True
    """Whether the caller's context comes with an event to a batch consumer."""

    def make(self, **options: Any) -> EventBus:
        """Return a new bus; takes ``history``, ``capacity``, ``synchronous`` where it has them."""
        raise NotImplementedError

    @pytest.fixture
    def new(self) -> Iterator[Make]:
        """Make buses, and close them when the test is over."""
        made: list[EventBus] = []

        def make(**options: Any) -> EventBus:
            made.append(self.make(**options))
            return made[-1]

        yield make
        for bus in made:
            assert bus.close(PATIENCE), "a test left a handler that hangs"

    @pytest.fixture
    def bus(self, new: Make) -> EventBus:
        return new()

    # Delivery

    def test_each_threads_events_arrive_once_and_in_their_order(self, bus: EventBus) -> None:
        batches, single = Sink(), list[Event]()
        bus.subscribe(batches)
        bus.handle(single.append)
        publish_in_threads(bus, threads=8, each=500)
        assert bus.flush(PATIENCE)
        expected = {f"t{n}": list(range(500)) for n in range(8)}
        assert numbers_by_publisher(batches.events) == expected
        assert numbers_by_publisher(single) == expected
        assert bus.lost == {}

    def test_events_arrive_as_they_were_published(self, bus: EventBus) -> None:
        sink = Sink()
        bus.subscribe(sink)
        sent: list[Event] = [checked(1), failed(2, "text")]
        for event in sent:
            bus.publish(event)
        assert bus.flush(PATIENCE)
        assert sink.events == sent

    def test_a_subscriber_gets_the_types_it_names_and_all_when_it_names_none(
        self, bus: EventBus
    ) -> None:
        everything, one, both = Sink(), list[Event](), Sink()
        bus.subscribe(everything)
        bus.handle(one.append, DatabaseConnectionFailed)
        bus.subscribe(both, DatabaseConnectionFailed, DatabaseHealthCheckCompleted)
        a, b = checked(1), failed(2)
        bus.publish(a)
        bus.publish(b)
        assert bus.flush(PATIENCE)
        assert everything.events == [a, b]
        assert one == [b]
        assert both.events == [a, b]

    def test_with_the_type_first_a_handler_of_single_events_is_subscribed(
        self, bus: EventBus
    ) -> None:
        plain, awaited = list[Event](), list[Event]()

        async def handler(event: DatabaseConnectionFailed) -> None:
            awaited.append(event)

        bus.subscribe(DatabaseConnectionFailed, plain.append)
        bus.subscribe(DatabaseConnectionFailed, handler, capacity=5)
        event = failed(2)
        bus.publish(checked(1))
        bus.publish(event)
        assert bus.flush(PATIENCE)
        assert plain == awaited == [event]

    def test_after_a_type_comes_one_handler(self, bus: EventBus) -> None:
        subscribe: Any = bus.subscribe
        for given in ((), (print, print)):
            with pytest.raises(TypeError, match="takes one handler: see handle"):
                subscribe(DatabaseConnectionFailed, *given)
        with pytest.raises(TypeError, match="takes one handler: see handle"):
            subscribe(DatabaseConnectionFailed, print, name="mine")
        with pytest.raises(TypeError, match="handler takes a function; got 1"):
            subscribe(DatabaseConnectionFailed, 1)

    def test_a_later_subscriber_gets_what_is_published_after_it(self, bus: EventBus) -> None:
        early, late = Sink(), Sink()
        bus.subscribe(early)
        bus.publish(checked(1))
        bus.subscribe(late)
        bus.publish(checked(2))
        assert bus.flush(PATIENCE)
        assert early.events[1:] == late.events
        assert len(late.events) == 1

    def test_the_callers_context_comes_along(self, bus: EventBus) -> None:
        sink = Sink()
        bus.subscribe(sink)
        given = otel_context.set_value("k", "v")
        bus.publish(checked(1), given)
        bus.publish(checked(2))
        assert bus.flush(PATIENCE)
        expected = [given if self.has_context else None, None]
        assert [context for _, context in sink.deliveries] == expected

    def test_a_bus_without_subscribers_takes_events(self, bus: EventBus) -> None:
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        assert bus.lost == {}

    # Overflow

    def test_every_event_is_delivered_or_counted_when_a_buffer_is_full(self, new: Make) -> None:
        bus, gate, wide = new(capacity=100_000), Gate(), Sink()
        narrow = bus.subscribe(gate, capacity=7)
        bus.subscribe(wide)
        bus.publish(failed(0, "first"))
        assert gate.entered.wait(PATIENCE)
        publish_in_threads(bus, threads=8, each=2_000)
        assert narrow.lost == {"queue_full": 16_000 - 7}
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert len(gate.got) == 1 + 7
        assert narrow.lost == bus.lost == {"queue_full": 16_000 - 7}
        assert len(wide.events) == 16_001
        assert bus.close(PATIENCE)
        assert narrow.lost == bus.lost == {"queue_full": 16_000 - 7}

    def test_losses_add_up_while_the_worker_runs(self, new: Make) -> None:
        bus, sink = new(), Sink()
        narrow = bus.subscribe(sink, capacity=2)
        publish_in_threads(bus, threads=8, each=2_000)
        assert bus.flush(PATIENCE)
        assert len(sink.events) + narrow.lost.get("queue_full", 0) == 16_000
        for numbers in numbers_by_publisher(sink.events).values():
            assert numbers == sorted(set(numbers))

    def test_the_oldest_is_dropped(self, new: Make) -> None:
        bus, gate = new(capacity=2), Gate()
        bus.handle(gate)
        bus.publish(checked(0))
        assert gate.entered.wait(PATIENCE)
        last = [checked(n) for n in range(1, 6)]
        for event in last:
            bus.publish(event)
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert gate.got[1:] == last[-2:]

    # Bad subscribers

    def test_a_hanging_subscriber_hurts_only_itself(self, bus: EventBus) -> None:
        gate, sink, single = Gate(), Sink(), list[Event]()
        bus.subscribe(gate)
        bus.subscribe(sink)
        bus.handle(single.append)
        sent = [checked(n) for n in range(20)]
        done = threading.Semaphore(0)
        bus.handle(lambda _: done.release() and None)
        for event in sent:
            bus.publish(event)
        assert gate.entered.wait(PATIENCE)
        assert bus.flush(0.01) is False
        for _ in sent:
            assert done.acquire(timeout=PATIENCE)
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert sink.events == single == sent
        assert [event for event, _ in gate.got] == sent

    def test_flush_is_patient_with_a_slow_subscriber(self, bus: EventBus) -> None:
        gate, sink = Gate(), Sink()
        bus.subscribe(gate)
        bus.subscribe(sink)
        bus.publish(checked(1))
        assert gate.entered.wait(PATIENCE)
        answer: list[bool] = []
        flushing = threading.Thread(target=lambda: answer.append(bus.flush(PATIENCE)))
        flushing.start()
        assert answer == []
        gate.opened.set()
        flushing.join(PATIENCE)
        assert answer == [True]
        assert len(gate.got) == len(sink.events) == 1

    @pytest.mark.parametrize("error", [ValueError, SystemExit, asyncio.CancelledError])
    @pytest.mark.swallows
    def test_errors_are_counted_by_the_event_and_hurt_nobody_else(
        self, bus: EventBus, error: type[BaseException]
    ) -> None:
        survived: list[Event] = []

        def picky(event: Event) -> None:
            assert isinstance(event, DatabaseHealthCheckCompleted)
            if event.latency_ms % 2:
                raise error("odd")
            survived.append(event)

        sink = Sink()
        subscription = bus.handle(picky)
        other = bus.subscribe(sink)
        for number in range(10):
            bus.publish(checked(number))
        assert bus.flush(PATIENCE)
        assert len(survived) == 5
        assert len(sink.events) == 10
        assert subscription.lost == bus.lost == {"handler_error": 5}
        assert other.lost == {}

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
    @pytest.mark.swallows
    def test_a_batch_that_raises_is_counted_and_the_next_still_comes(
        self, bus: EventBus, error: type[BaseException]
    ) -> None:
        sink = Sink()

        def consume(batch: Sequence[Delivery]) -> None:
            sink(batch)
            if len(sink.events) == 1:
                raise error

        subscription = bus.subscribe(consume)
        for number in range(2):
            bus.publish(checked(number))
            assert bus.flush(PATIENCE)
        assert len(sink.events) == 2
        assert subscription.lost == {"handler_error": 1}

    @pytest.mark.swallows
    def test_a_subscribers_error_is_logged_once_with_its_name(
        self, bus: EventBus, caplog: pytest.LogCaptureFixture
    ) -> None:
        def consume(batch: Sequence[Delivery]) -> None:
            raise ValueError("refused")

        subscription = bus.subscribe(consume, name="the grumbler")
        with caplog.at_level(logging.WARNING, "otel_dbevents"):
            for number in range(5):
                bus.publish(checked(number))
                assert bus.flush(PATIENCE)
        assert subscription.lost == {"handler_error": 5}
        (record,) = caplog.records
        assert "the grumbler" in record.getMessage()
        assert "ValueError < contract.py" in record.getMessage()
        assert record.exc_info is None  # the message may hold a value
        assert "refused" not in record.getMessage()

    def test_handlers_are_not_instrumented(self, bus: EventBus) -> None:
        enabled: list[bool] = []
        bus.subscribe(lambda _: enabled.append(is_instrumentation_enabled()))
        bus.handle(lambda _: enabled.append(is_instrumentation_enabled()))

        async def awaited(_: Event) -> None:
            enabled.append(is_instrumentation_enabled())

        bus.handle(awaited)
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        assert enabled == [False] * 3
        assert is_instrumentation_enabled()

    # Coroutine handlers

    def test_a_coroutine_handler_needs_no_loop(self, bus: EventBus) -> None:
        got: list[Event] = []

        async def handler(event: Event) -> None:
            await asyncio.sleep(0)
            got.append(event)

        bus.handle(handler)
        sent = [checked(n) for n in range(5)]
        for event in sent:
            bus.publish(event)
        assert bus.flush(PATIENCE)
        assert got == sent

    async def test_a_coroutine_handler_is_awaited_on_the_loop_that_runs(
        self, bus: EventBus
    ) -> None:
        loops: list[asyncio.AbstractEventLoop] = []
        at_once: list[int] = []
        busy = 0

        async def handler(_: Event) -> None:
            nonlocal busy
            busy += 1
            at_once.append(busy)
            await asyncio.sleep(0)
            busy -= 1
            loops.append(asyncio.get_running_loop())

        bus.handle(handler)
        for number in range(5):
            bus.publish(checked(number))
        assert await asyncio.to_thread(bus.flush, PATIENCE)
        assert loops == [asyncio.get_running_loop()] * 5
        assert at_once == [1] * 5

    @pytest.mark.swallows
    async def test_a_coroutine_handlers_errors_are_counted(self, bus: EventBus) -> None:
        async def handler(_: Event) -> None:
            raise ValueError

        class Cancelled:
            async def __call__(self, _: Event) -> None:
                raise asyncio.CancelledError

        one, two = bus.handle(handler), bus.handle(Cancelled())
        for number in range(3):
            bus.publish(checked(number))
        assert await asyncio.to_thread(bus.flush, PATIENCE)
        assert one.lost == two.lost == {"handler_error": 3}

    @pytest.mark.swallows
    def test_an_awaitable_that_nobody_awaits_is_an_error(self, bus: EventBus) -> None:
        async def work() -> None:
            raise AssertionError("nobody awaits it")

        subscription = bus.handle(lambda _: work())
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        assert subscription.lost == {"handler_error": 1}

    # Publishing and flushing inside a handler

    def test_flush_waits_for_what_handlers_publish(self, bus: EventBus) -> None:
        last: list[Event] = []

        def first(event: Event) -> None:
            assert isinstance(event, DatabaseHealthCheckCompleted)
            if event.latency_ms < 5:
                bus.publish(checked(int(event.latency_ms) + 1))
            else:
                bus.publish(failed(6))

        bus.handle(last.append, DatabaseConnectionFailed)
        bus.handle(first, DatabaseHealthCheckCompleted)
        for _ in range(20):
            last.clear()
            bus.publish(checked(0))
            assert bus.flush(PATIENCE)
            assert len(last) == 1

    def test_flush_ends_though_a_handler_never_stops_publishing(self, bus: EventBus) -> None:
        endless = True

        def again(event: Event) -> None:
            if endless:
                bus.publish(event)

        bus.handle(again)
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        endless = False

    def test_a_handler_may_flush(self, bus: EventBus) -> None:
        answers: list[bool] = []
        sink = Sink()
        bus.subscribe(sink, DatabaseConnectionFailed)

        def handler(_: Event) -> None:
            bus.publish(failed(1))
            answers.append(bus.flush(PATIENCE))
            answers.append(len(sink.events) == 1)

        bus.handle(handler, DatabaseHealthCheckCompleted)
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        assert answers == [True, True]

    # When nothing comes

    def test_a_consumer_is_told_once_each_time_nothing_comes(self, bus: EventBus) -> None:
        order: list[str] = []
        told = threading.Semaphore(0)

        def idle() -> None:
            order.append(f"idle {is_instrumentation_enabled()}")
            told.release()

        bus.subscribe(lambda batch: order.append(f"batch of {len(batch)}"), idle=idle)
        for _ in range(2):
            bus.publish(checked(1))
            assert told.acquire(timeout=PATIENCE)
        assert order == ["batch of 1", "idle False"] * 2

    def test_a_consumer_is_told_when_its_subscription_has_ended(self, new: Make) -> None:
        for end in ("cancel", "close"):
            bus, order = new(), list[str]()
            subscription = bus.subscribe(
                lambda _, order=order: order.append("batch"),  # type: ignore[misc]
                idle=lambda order=order: order.append("idle"),  # type: ignore[misc]
            )
            bus.publish(checked(1))
            if end == "cancel":
                subscription.cancel()
            assert bus.close(PATIENCE)
            assert order[0] == "batch"
            assert order[-1] == "idle"

    @pytest.mark.swallows
    def test_an_error_in_being_idle_is_counted_and_the_next_batch_still_comes(
        self, bus: EventBus
    ) -> None:
        sink, told = Sink(), threading.Semaphore(0)

        def idle() -> None:
            told.release()
            raise SystemExit("no")

        subscription = bus.subscribe(sink, idle=idle)
        for _ in range(2):
            bus.publish(checked(1))
            assert told.acquire(timeout=PATIENCE)
        assert bus.close(PATIENCE)
        assert len(sink.events) == 2
        assert subscription.lost["handler_error"] >= 2

    # Inline

    def test_an_inline_handler_runs_within_publish(self, bus: EventBus) -> None:
        seen: list[tuple[Event, Any, int]] = []
        subscription = bus.subscribe_inline(
            lambda event, context: seen.append((event, context, threading.get_ident())),
            DatabaseHealthCheckCompleted,
        )
        event, context = checked(1), otel_context.set_value("k", "v")
        bus.publish(failed(0), context)
        bus.publish(event, context)
        assert seen == [(event, context, threading.get_ident())]
        assert seen[0][1] is context
        subscription.cancel()
        bus.publish(checked(2))
        assert len(seen) == 1
        assert subscription.lost == {}

    def test_what_an_inline_handler_does_itself_is_not_told(self, bus: EventBus) -> None:
        """Else one that asks a database would be called for what it asks, for ever."""
        seen: list[Any] = []
        bus.subscribe_inline(lambda *_: seen.append(is_instrumentation_enabled()))
        bus.publish(checked(1))
        assert seen == [False]
        assert is_instrumentation_enabled()

    @pytest.mark.swallows
    def test_an_inline_handlers_error_does_not_reach_the_publisher(self, bus: EventBus) -> None:
        seen: list[Event] = []

        def grumble(event: Event, context: Any) -> None:
            raise ValueError("refused")

        bad = bus.subscribe_inline(grumble)
        good = bus.subscribe_inline(lambda event, _: seen.append(event))
        bus.publish(checked(1))
        bus.publish(checked(2))
        assert len(seen) == 2
        assert bad.lost == bus.lost == {"handler_error": 2}
        assert good.lost == {}
        bad.cancel()
        bad.cancel()
        assert bus.lost == {"handler_error": 2}

    def test_what_an_inline_handler_publishes_follows_after(self, bus: EventBus) -> None:
        order: list[str] = []

        def nested(event: Event, _: Any) -> None:
            order.append(f"in {type(event).__name__}")
            if isinstance(event, DatabaseHealthCheckCompleted):
                bus.publish(failed(1))
            order.append("out")

        bus.subscribe_inline(nested)
        bus.publish(checked(1))
        assert order == ["in DatabaseHealthCheckCompleted", "out",
                         "in DatabaseConnectionFailed", "out"]  # fmt: skip

    def test_no_inline_call_is_missed_while_others_subscribe(self, bus: EventBus) -> None:
        calls = 0

        def inline(event: Event, _: Any) -> None:
            nonlocal calls
            calls += 1

        bus.subscribe_inline(inline)
        enough = threading.Event()

        def come_and_go() -> None:
            while not enough.is_set():
                bus.subscribe(Sink()).cancel()

        thread = threading.Thread(target=come_and_go)
        thread.start()
        event = checked(1)
        for _ in range(20_000):
            bus.publish(event)
        enough.set()
        thread.join(PATIENCE)
        assert calls == 20_000

    # From a finalizer

    def test_what_a_finalizer_publishes_is_brought_by_the_worker(self, bus: EventBus) -> None:
        sink = Sink()
        bus.subscribe(sink)
        a, b, context = checked(1), checked(2), otel_context.set_value("k", "v")
        bus.publish(a)
        assert bus.flush(PATIENCE)
        bus.publish_from_finalizer(b, context)
        assert bus.flush(PATIENCE)
        assert sink.deliveries[1:] == [(b, context)]

    def test_a_finalizer_starts_no_thread_and_the_next_event_does(self, bus: EventBus) -> None:
        got, both = list[Event](), threading.Event()

        def handler(event: Event) -> None:
            got.append(event)
            if len(got) == 2:
                both.set()

        bus.handle(handler)
        before = set(threading.enumerate())
        a, b = checked(1), checked(2)
        bus.publish_from_finalizer(a)
        assert set(threading.enumerate()) == before
        bus.publish(b)
        assert both.wait(PATIENCE)
        assert got == [a, b]

    def test_an_inline_call_of_a_finalizers_waits_for_the_next_publish(self, bus: EventBus) -> None:
        seen: list[tuple[Event, Any]] = []
        bus.subscribe_inline(
            lambda event, context: seen.append((event, context)), DatabaseHealthCheckCompleted
        )
        a, b, context = checked(1), checked(2), otel_context.set_value("k", "v")
        bus.publish(failed(0))  # so that it is known already where its type goes
        for first in (a, b):
            bus.publish_from_finalizer(first, context)
            assert seen == []
            bus.publish(failed(1))  # whatever it is
            assert seen == [(first, context)]
            seen.clear()
        bus.publish_from_finalizer(a, context)
        bus.publish(b)
        assert [event for event, _ in seen] == [a, b]

    def test_an_inline_call_of_a_finalizers_waits_no_longer_than_flush(self, bus: EventBus) -> None:
        seen: list[Event] = []
        bus.subscribe_inline(lambda event, _: seen.append(event))
        event = checked(1)
        bus.publish_from_finalizer(event)
        assert seen == []
        assert bus.flush(PATIENCE)
        assert seen == [event]

    def test_what_a_finalizer_publishes_after_the_end_is_counted(self, bus: EventBus) -> None:
        assert bus.close(PATIENCE)
        bus.publish(checked(1))
        bus.publish_from_finalizer(checked(2))
        assert bus.lost == {"closed": 2}

    # Synchronous mode

    def test_in_synchronous_mode_all_is_handled_when_publish_returns(self, new: Make) -> None:
        bus = self.synchronous(new)
        sink, single, enabled = Sink(), list[tuple[Event, int]](), list[bool]()
        bus.subscribe(sink)
        bus.handle(lambda event: single.append((event, threading.get_ident())))
        bus.subscribe(lambda _: enabled.append(is_instrumentation_enabled()))
        event, context = checked(1), otel_context.set_value("k", "v")
        bus.publish(event, context)
        assert sink.deliveries == [(event, context)]
        assert single == [(event, threading.get_ident())]
        assert enabled == [False]
        assert is_instrumentation_enabled()
        assert bus.flush(0)

    def test_in_synchronous_mode_a_consumer_is_idle_after_each_event(self, new: Make) -> None:
        bus, order = self.synchronous(new), list[str]()
        bus.subscribe(lambda _: order.append("batch"), idle=lambda: order.append("idle"))
        bus.publish(checked(1))
        bus.publish(checked(2))
        assert order == ["batch", "idle"] * 2

    def test_in_synchronous_mode_what_handlers_publish_follows_after(self, new: Make) -> None:
        bus = self.synchronous(new)
        order: list[tuple[str, Event]] = []
        a, b = checked(1), failed(2)

        def first(event: Event) -> None:
            order.append(("first", event))
            if event is a:
                bus.publish(b)

        bus.handle(first)
        bus.handle(lambda event: order.append(("second", event)))
        bus.publish(a)
        assert order == [("first", a), ("second", a), ("first", b), ("second", b)]

    def test_in_synchronous_mode_a_finalizers_event_waits_for_the_next(self, new: Make) -> None:
        bus, sink = self.synchronous(new), Sink()
        bus.subscribe(sink)
        a, b = checked(1), checked(2)
        bus.publish_from_finalizer(a)
        assert sink.events == []
        bus.publish(b)
        assert sink.events == [a, b]

    @pytest.mark.swallows
    def test_in_synchronous_mode_errors_are_counted_and_cancel_works(self, new: Make) -> None:
        bus = self.synchronous(new)

        def grumble(_: Event) -> None:
            raise ValueError("refused")

        subscription = bus.handle(grumble)
        bus.publish(checked(1))
        assert subscription.lost == bus.lost == {"handler_error": 1}
        subscription.cancel()
        bus.publish(checked(2))
        assert bus.lost == {"handler_error": 1}

    def test_in_synchronous_mode_a_coroutine_handler_runs_beside(self, new: Make) -> None:
        bus, got = self.synchronous(new), list[Event]()

        async def handler(event: Event) -> None:
            got.append(event)

        bus.handle(handler)
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        assert len(got) == 1

    def synchronous(self, new: Make) -> EventBus:
        return new(synchronous=True)

    # History

    def test_the_last_thousand_events_are_remembered(self, bus: EventBus) -> None:
        sent = [checked(n) for n in range(1_005)]
        for event in sent:
            bus.publish(event)
        assert list(bus.history) == sent[5:]

    def test_history_can_be_long_short_or_off(self, new: Make) -> None:
        off, short = new(history=0), new(history=2)
        sent = [checked(n) for n in range(3)]
        for event in sent:
            off.publish(event)
            short.publish(event)
        assert list(off.history) == []
        assert list(short.history) == sent[1:]

    # Ends

    def test_what_is_in_the_buffer_is_handled_when_a_subscription_ends(self, bus: EventBus) -> None:
        gate = Gate()
        subscription = bus.handle(gate)
        sent = [checked(n) for n in range(5)]
        bus.publish(sent[0])
        assert gate.entered.wait(PATIENCE)
        for event in sent[1:]:
            bus.publish(event)
        subscription.cancel()
        subscription.cancel()
        bus.publish(checked(99))
        assert bus.flush(0.01) is False
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert gate.got == sent

    @pytest.mark.swallows
    def test_losses_outlive_their_subscription(self, new: Make) -> None:
        bus, gate = new(capacity=2), Gate()

        def handler(event: Event) -> None:
            gate(event)
            raise ValueError("refused")

        subscription = bus.handle(handler)
        bus.publish(checked(0))
        assert gate.entered.wait(PATIENCE)
        for number in range(1, 6):
            bus.publish(checked(number))
        subscription.cancel()
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert bus.lost == subscription.lost == {"handler_error": 3, "queue_full": 3}
        assert bus.close(PATIENCE)
        assert bus.lost == {"handler_error": 3, "queue_full": 3}

    def test_a_handler_may_end_its_own_subscription(self, bus: EventBus) -> None:
        got: list[Event] = []

        def once(event: Event) -> None:
            got.append(event)
            subscription.cancel()

        subscription = bus.handle(once)
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        bus.publish(checked(2))
        assert bus.flush(PATIENCE)
        assert len(got) == 1

    def test_close_delivers_what_there_is_and_counts_what_comes_after(self, bus: EventBus) -> None:
        sink = Sink()
        bus.subscribe(sink)
        bus.publish(checked(1))
        assert bus.close(PATIENCE)
        assert len(sink.events) == 1
        bus.publish(checked(2))
        bus.publish(checked(3))
        assert bus.close(PATIENCE)
        assert bus.flush(PATIENCE)
        assert len(sink.events) == 1
        assert bus.lost == {"closed": 2}

    def test_close_says_that_something_was_left(self, bus: EventBus) -> None:
        gate, sink = Gate(), Sink()
        bus.handle(gate)
        bus.subscribe(sink)
        bus.publish(checked(1))
        bus.publish(checked(2))
        assert gate.entered.wait(PATIENCE)
        wait_until(lambda: len(sink.events) == 2)
        assert bus.close(0.01) is False
        gate.opened.set()
        assert bus.close(PATIENCE)
        assert len(gate.got) == 2

    def test_no_thread_is_left_after_close(self, new: Make) -> None:
        before = set(threading.enumerate())
        bus = new()

        async def handler(_: Event) -> None: ...

        bus.handle(handler)
        bus.subscribe(Sink())
        bus.handle(Sink().deliveries.append)  # type: ignore[arg-type]
        bus.publish(checked(1))
        assert set(threading.enumerate()) - before
        assert bus.close(PATIENCE)
        assert not set(threading.enumerate()) - before
        gc.collect()  # an event loop that was left open would warn now

    def test_nothing_is_lost_between_publish_and_close(self, new: Make) -> None:
        for _ in range(20):
            bus, sink = new(), Sink()
            bus.subscribe(sink)
            half = threading.Event()

            def publish(bus: EventBus = bus, half: threading.Event = half) -> None:
                for number in range(400):
                    bus.publish(checked(number))
                    if number == 200:
                        half.set()

            publisher = threading.Thread(target=publish)
            publisher.start()
            assert half.wait(PATIENCE)
            assert bus.close(PATIENCE)
            publisher.join(PATIENCE)
            assert bus.flush(PATIENCE)
            assert len(sink.events) + bus.lost.get("closed", 0) == 400

    # Fork

    def test_a_forked_child_starts_empty_and_the_parent_delivers_what_it_had(
        self, bus: EventBus
    ) -> None:
        gate, sink = Gate(), Sink()
        awaited: list[Event] = []

        async def handler(event: Event) -> None:
            awaited.append(event)

        bus.handle(gate)
        bus.subscribe(sink)
        bus.handle(handler)
        bus.publish(checked(0))
        assert gate.entered.wait(PATIENCE)
        bus.publish(checked(1))

        def child() -> object:
            at_first = [len(gate.got), dict(bus.lost)]
            sink.deliveries.clear()
            awaited.clear()
            gate.opened = threading.Event()  # the parent's worker stands at the other
            gate.opened.set()
            bus.publish(checked(2))
            flushed = bus.flush(PATIENCE)
            got = [event.latency_ms for event in gate.got]
            return at_first, flushed, got, len(sink.events), len(awaited), bus.close(PATIENCE)

        said = in_child(child)
        assert said == "([0, {}], True, [2.0], 1, 1, True)"
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert [event.latency_ms for event in gate.got] == [0, 1]
        assert len(sink.events) == len(awaited) == 2
        bus.publish(checked(3))  # what the child closed was its own
        assert bus.flush(PATIENCE)
        assert len(sink.events) == len(awaited) == 3

    # Bad input

    @pytest.mark.parametrize("capacity", [-1, 1.5, "2", True])
    def test_a_wrong_capacity_is_refused(self, bus: EventBus, capacity: Any) -> None:
        with pytest.raises(ValueError, match="capacity takes a number of events, 0 or more; got"):
            bus.subscribe(Sink(), capacity=capacity)
        with pytest.raises(ValueError, match="capacity takes a number of events, 0 or more; got"):
            bus.handle(Gate(), capacity=capacity)

    def test_what_cannot_be_called_is_refused(self, bus: EventBus) -> None:
        wrong: Any = "consumer"
        with pytest.raises(TypeError, match="consumer takes a function; got 'consumer'"):
            bus.subscribe(wrong)
        with pytest.raises(TypeError, match="idle takes a function; got 'consumer'"):
            bus.subscribe(Sink(), idle=wrong)
        with pytest.raises(TypeError, match="handler takes a function; got 'consumer'"):
            bus.handle(wrong)
        with pytest.raises(TypeError, match="handler takes a function; got 'consumer'"):
            bus.subscribe_inline(wrong)

    @pytest.mark.parametrize("kind", [int, "QueryExecuted", checked(1)])
    def test_what_is_no_event_type_is_refused(self, bus: EventBus, kind: Any) -> None:
        for subscribe in (bus.subscribe, bus.handle, bus.subscribe_inline):
            with pytest.raises(TypeError, match="types takes classes of events; got"):
                subscribe(Gate(), kind)  # type: ignore[operator]
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)

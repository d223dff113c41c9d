"""The bus in memory keeps the contract; and what only it has: threads, locks, a process's end."""

import asyncio
import functools
import gc
import logging
import subprocess
import sys
import threading
import weakref
from queue import SimpleQueue
from typing import Any

import pytest
from opentelemetry import context as otel_context

from otel_dbevents import signals, swallowing
from otel_dbevents.bus import handlers, losses, subscription
from otel_dbevents.bus.buffer import Buffer
from otel_dbevents.bus.history import History
from otel_dbevents.bus.losses import Losses
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.bus.subscription import MemorySubscription
from otel_dbevents.compat import has_gil
from otel_dbevents.events import Event
from tests.bus.contract import PATIENCE, BusContract, Gate, Sink, checked, failed

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


class TestMemoryBus(BusContract):
    @pytest.fixture(autouse=True)
    def soon_idle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subscription, "_IDLE_SECONDS", 0.01)

    def make(self, **options: Any) -> MemoryBus:
        return MemoryBus(**options)


@pytest.fixture
def bus() -> Any:
    made = MemoryBus()
    yield made
    assert made.close(PATIENCE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"history": -1}, "history takes a number of events, 0 or more; got -1"),
        ({"history": "all"}, "history takes a number of events, 0 or more; got 'all'"),
        ({"capacity": 0}, "capacity takes a number of events, 1 or more; got 0"),
        ({"capacity": True}, "capacity takes a number of events, 1 or more; got True"),
    ],
)
def test_a_wrong_size_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MemoryBus(**options)


def test_a_capacity_is_checked_in_synchronous_mode_too() -> None:
    with pytest.raises(ValueError, match="capacity"):
        MemoryBus(synchronous=True).subscribe(Sink(), capacity=-1)


def collect_until_it_ends(worker: threading.Thread) -> None:
    """Have the garbage collected until nothing keeps the worker."""
    for _ in range(300):
        gc.collect()
        worker.join(PATIENCE / 300)
        if not worker.is_alive():
            return
    raise AssertionError(f"{worker.name} runs on")


# Workers


def test_a_bus_without_events_has_no_thread(bus: MemoryBus) -> None:
    before = set(threading.enumerate())
    bus.subscribe(Sink())
    assert bus.flush(PATIENCE)
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("idle", [None, lambda: None], ids=["", "told that it is idle"])
def test_an_idle_worker_sleeps_without_a_time_out(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch, idle: Any
) -> None:
    sink = Sink()
    slept: SimpleQueue[int] = SimpleQueue()

    class Signals(SimpleQueue[bool]):
        def get(self, block: bool = True, timeout: float | None = None) -> bool:
            if timeout is None and self.empty():
                slept.put(len(sink.events))
            return super().get(block, timeout)

    monkeypatch.setattr(signals, "SimpleQueue", Signals)
    monkeypatch.setattr(subscription, "_IDLE_SECONDS", 0.01)
    bus.subscribe(sink, idle=idle)
    for number in range(1, 4):
        bus.publish(checked(number))
        while slept.get(timeout=PATIENCE) != number:
            pass


def test_a_consumer_is_not_idle_between_the_batches_of_a_burst(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "_IDLE_SECONDS", 300)
    idle = threading.Event()
    bus.subscribe(Sink(), idle=idle.set)
    for number in range(3):
        bus.publish(checked(number))
        assert bus.flush(PATIENCE)
    assert not idle.is_set()
    assert bus.close(PATIENCE)
    assert idle.is_set()


def test_a_consumer_is_idle_though_no_worker_can_be_had(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    order: list[str] = []
    bus.subscribe(lambda _: order.append("batch"), idle=lambda: order.append("idle"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
    assert order == ["batch", "idle"]


def test_a_bus_that_is_dropped_takes_its_threads_along() -> None:
    before = set(threading.enumerate())
    bus, got = MemoryBus(), list[Event]()
    gone = weakref.ref(bus)

    def handler(event: Event, bus: MemoryBus = bus) -> None:  # it even refers to its bus
        got.append(event)

    async def awaited(event: Event) -> None:
        got.append(event)

    bus.handle(handler)
    bus.handle(awaited)
    bus.publish(checked(1))
    assert bus.flush(PATIENCE)
    workers = set(threading.enumerate()) - before
    assert len(workers) == 2
    del bus, handler
    for worker in workers:
        collect_until_it_ends(worker)
    assert gone() is None
    assert len(got) == 2


def test_a_dropped_bus_first_delivers_what_it_had() -> None:
    before = set(threading.enumerate())
    bus, gate = MemoryBus(), Gate()
    bus.handle(gate)
    bus.publish(checked(1))
    assert gate.entered.wait(PATIENCE)
    (worker,) = set(threading.enumerate()) - before
    bus.publish(checked(2))
    del bus
    gc.collect()
    gate.opened.set()
    collect_until_it_ends(worker)
    assert len(gate.got) == 2


def test_a_worker_belongs_to_no_span_of_the_thread_that_started_it(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under the threading instrumentation, which hands the starter's context to a thread."""
    run = threading.Thread.run

    def with_context(self: threading.Thread) -> None:
        otel_context.attach(otel_context.set_value("span", "the application's"))
        run(self)

    monkeypatch.setattr(threading.Thread, "run", with_context)
    seen: list[object] = []
    bus.handle(lambda _: seen.append(otel_context.get_value("span")))
    bus.publish(checked(1))
    assert bus.flush(PATIENCE)
    assert seen == [None]


def test_a_thread_that_cannot_be_started_is_asked_for_again(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Sink()
    held = bus.subscribe(sink)
    assert isinstance(held, MemorySubscription)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        bus.publish(checked(1))
        assert held.asleep
        assert sink.events == []
        assert not bus.flush(0)
    bus.publish(checked(2))
    assert bus.flush(PATIENCE)
    assert len(sink.events) == 2
    assert bus.lost == {}


def test_flush_handles_itself_what_no_worker_can(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, object]] = []
    bus.handle(
        lambda _: seen.append(
            (threading.get_ident(), otel_context.get_value("suppress_instrumentation"))
        )
    )

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    bus.publish(checked(1))
    assert bus.flush(PATIENCE)
    assert seen == [(threading.get_ident(), True)]
    assert otel_context.get_value("suppress_instrumentation") is None


def test_an_event_that_comes_as_the_worker_ends_is_handled(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher that found its way before a subscription ended may come this late."""
    sink = Sink()
    held = bus.subscribe(sink)
    assert isinstance(held, MemorySubscription)
    end = MemorySubscription._end
    late = [checked(2)]

    def ending(self: MemorySubscription) -> None:
        while late:
            self.buffer.put((late.pop(), None))
        end(self)

    monkeypatch.setattr(MemorySubscription, "_end", ending)
    before = set(threading.enumerate())
    bus.publish(checked(1))
    held.cancel()
    assert bus.close(PATIENCE)
    assert set(threading.enumerate()) <= before  # the second worker is waited for as well
    assert len(sink.events) == 2


@pytest.mark.swallows
def test_an_object_collected_within_publish_may_publish(bus: MemoryBus) -> None:
    """Its ``__del__`` runs wherever the thread is: also where it holds a lock of the bus."""
    sink = Sink()
    held = bus.subscribe(sink)
    assert isinstance(held, MemorySubscription)
    bus.subscribe_inline(Sink())  # type: ignore[arg-type]  # it raises: the losses are counted

    def publish() -> None:
        with bus._lock, held._starting, bus._losses._lock, held.buffer._lock:
            bus.publish(checked(1))
            assert bus.lost == {"handler_error": 1}

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive(), "a lock waits for its own thread"
    assert bus.flush(PATIENCE)
    assert len(sink.events) == 1


def test_an_event_that_comes_as_the_worker_goes_to_sleep_is_handled(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its publisher still took the worker for awake, and did not wake it."""
    handled = threading.Semaphore(0)
    held = bus.handle(lambda _: handled.release())
    assert isinstance(held, MemorySubscription)
    late = [checked(2)]

    def fall_asleep(self: MemorySubscription, asleep: bool) -> None:
        if asleep and late and self is held:
            self.buffer.put((late.pop(), None))
        said.__set__(self, asleep)

    said: Any = vars(MemorySubscription)["asleep"]
    monkeypatch.setattr(MemorySubscription, "asleep", property(said.__get__, fall_asleep))
    bus.publish(checked(1))
    assert handled.acquire(timeout=PATIENCE)
    assert handled.acquire(timeout=PATIENCE)


def test_a_batch_that_was_just_taken_out_is_waited_for(bus: MemoryBus) -> None:
    """Between a look at the buffer and one at the worker, the worker may take the last event."""
    held = bus.subscribe(Sink())
    assert isinstance(held, MemorySubscription)

    class JustEmptied(Buffer[Any]):
        def __len__(self) -> int:
            held._busy = True
            return 0

    held.buffer = JustEmptied(1)
    assert not held.reached(1)
    held.buffer, held._busy = Buffer(1), False
    assert held.reached(1)


# Event loops


@pytest.mark.swallows
async def test_a_loop_that_is_closed_is_an_error_and_not_a_hang(
    bus: MemoryBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "_LOOK_SECONDS", 0.01)

    async def handler(_: Event) -> None: ...

    loop = asyncio.new_event_loop()

    async def subscribe() -> Any:
        return bus.handle(handler)

    held = await asyncio.to_thread(loop.run_until_complete, subscribe())
    asked = threading.Event()
    ask = loop.call_soon_threadsafe

    def asking(*args: Any, **options: Any) -> Any:
        asked.set()
        return ask(*args, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", asking)
    bus.publish(checked(1))  # the loop does not run, and so never takes it up
    assert asked.wait(PATIENCE)
    loop.close()
    bus.publish(checked(2))  # and this one finds it closed
    assert await asyncio.to_thread(bus.flush, PATIENCE)
    assert held.lost == {"handler_error": 2}


def test_a_partial_of_a_coroutine_function_is_awaited(bus: MemoryBus) -> None:
    got: list[tuple[str, Event]] = []

    async def handler(name: str, event: Event) -> None:
        got.append((name, event))

    bus.handle(functools.partial(handler, "x"))
    bus.publish(checked(1))
    assert bus.flush(PATIENCE)
    assert len(got) == 1


@pytest.mark.swallows
def test_a_future_that_nobody_awaits_is_an_error(bus: MemoryBus) -> None:
    class Awaitable:
        def __await__(self) -> Any:
            yield

    held = bus.handle(lambda _: Awaitable())
    bus.publish(checked(1))
    assert bus.flush(PATIENCE)
    assert held.lost == {"handler_error": 1}


# Losses


@pytest.mark.swallows
def test_an_error_is_logged_again_after_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1_000.0
    monkeypatch.setattr(swallowing, "monotonic", lambda: now)
    counted = Losses("somebody")
    with caplog.at_level(logging.WARNING, "otel_dbevents.bus"):
        for now in (1_000.0, 1_030.0, 1_059.9, 1_060.0, 1_119.0):  # noqa: B007 - read above
            counted.add("handler_error", 2, ValueError("refused"))
    assert [record.getMessage() for record in caplog.records] == [
        "somebody failed, and 2 events so far were lost by it: ValueError",
        "somebody failed, and 8 events so far were lost by it: ValueError",
    ]
    assert counted.counts() == {"handler_error": 10}


@pytest.mark.swallows
def test_a_log_that_fails_does_not_reach_the_publisher(bus: MemoryBus) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError("a filter that raises")

    def grumble(event: Event, _: Any) -> None:
        raise ValueError("refused")

    held = bus.subscribe_inline(grumble)
    log = logging.getLogger("otel_dbevents.bus")
    log.addFilter(refuse)
    try:
        bus.publish(checked(1))
    finally:
        log.removeFilter(refuse)
    assert held.lost == {"handler_error": 1}


def test_subscribers_that_came_and_went_leave_nothing_but_their_counts(bus: MemoryBus) -> None:
    before = set(threading.enumerate())
    kept = []
    for number in range(20):
        held = bus.subscribe(Sink())
        if number % 2:
            bus.publish(checked(number))
        held.cancel()
        kept.append(weakref.ref(held))
        del held
    for worker in set(threading.enumerate()) - before:
        worker.join(PATIENCE)
    gc.collect()
    assert [each() for each in kept] == [None] * 20
    assert bus.lost == {}


# The buffer


def test_the_buffer_counts_what_it_dropped() -> None:
    buffer = Buffer[int](3)
    for number in range(10):
        buffer.put(number)
    assert (len(buffer), buffer.dropped(), buffer.put_in()) == (3, 7, 10)
    assert buffer.drain(2) == ([7, 8], 9)
    assert buffer.drain(5) == ([9], 10)
    assert buffer.drain(5) == ([], 10)
    assert buffer.dropped() == 7


def test_a_buffer_never_says_too_much_was_dropped() -> None:
    """Read while it is filled and drained, the number grows towards the true one."""
    buffer, read, done = Buffer[int](50), list[int](), threading.Event()
    taken = 0

    def look() -> None:
        while not done.is_set():
            read.append(buffer.dropped())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # have the threads change places as often as can be
    looking = threading.Thread(target=look)
    looking.start()
    for number in range(30_000):
        buffer.put(number)
        if number % 40 == 0:
            taken += len(buffer.drain(30)[0])
    done.set()
    looking.join(PATIENCE)
    sys.setswitchinterval(before)
    assert max(read) <= buffer.dropped() == 30_000 - taken - len(buffer)


# Fork


@pytest.mark.swallows
def test_begun_anew_a_bus_has_nothing_of_its_past() -> None:
    """What a forked child does first, done in place: the real fork is in the contract."""
    bus, sink, loops = MemoryBus(), Sink(), list[asyncio.AbstractEventLoop]()

    async def awaited(event: Event) -> None:
        loops.append(asyncio.get_running_loop())

    def refuse(event: Event) -> None:
        raise ValueError("refused")

    def grumble(event: Event, _: Any) -> None:
        raise ValueError("refused")

    bus.subscribe(sink)
    bus.handle(awaited)
    refusing = bus.handle(refuse)
    inline = bus.subscribe_inline(grumble)
    gate = Gate()
    full = bus.handle(gate, capacity=1)
    bus.publish(checked(1))
    assert gate.entered.wait(PATIENCE)
    bus.publish(checked(2))
    bus.publish(checked(3))
    full.cancel()
    gate.opened.set()
    assert bus.flush(PATIENCE)
    assert bus.lost == {"handler_error": 6, "queue_full": 1}
    del loops[1:], sink.deliveries[:]
    bus._begin_anew()
    assert (bus.lost, inline.lost, refusing.lost, bus.history) == ({}, {}, {}, ())
    again = failed(2)
    bus.publish(again)
    assert bus.flush(PATIENCE)
    assert sink.events == [again]
    first, second = loops
    assert first is not second
    assert not first.is_closed()  # it is the parent's
    assert inline.lost == {"handler_error": 1}
    assert bus.close(PATIENCE)
    off = MemoryBus(history=0)
    off._begin_anew()
    assert off.history == ()


def test_begun_anew_a_bus_waits_for_no_lock_of_another_thread() -> None:
    """A fork copies the locks, and not the threads that would give them back."""
    bus, sink = MemoryBus(), Sink()
    held = bus.subscribe(sink)
    assert isinstance(held, MemorySubscription)
    locks: list[Any] = [
        bus._lock, bus._losses._lock, held.losses._lock, held.buffer._lock, held._starting,
        held._idle,
    ]  # fmt: skip
    taking = threading.Thread(target=lambda: [lock.acquire() for lock in locks])
    taking.start()
    taking.join(PATIENCE)

    def begin_anew() -> None:
        bus._begin_anew()
        bus.publish(checked(1))
        assert bus.flush(PATIENCE)
        assert bus.lost == held.lost == {}
        assert bus.close(PATIENCE)

    child = threading.Thread(target=begin_anew, daemon=True)
    child.start()
    child.join(PATIENCE)
    assert not child.is_alive()
    assert len(sink.events) == 1


# The process's end

_AT_EXIT = """
import atexit
from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.events import DatabaseHealthCheckCompleted as Checked, HealthStatus

event = Checked(status=HealthStatus.HEALTHY, latency_ms=1)
got = []
used, fresh, latest = MemoryBus(), MemoryBus(), MemoryBus()
for bus in (used, fresh, latest):
    bus.handle(got.append)
used.publish(event)
assert used.flush(30)

def last():
    for bus in (used, fresh):
        bus.publish(event)
        assert bus.flush(30), "not flushed"
        assert bus.close(30), "not closed"
    print(len(got))

class Late:
    def __init__(self):
        self.bus = latest
    def __del__(self):
        used.publish(event)
        self.bus.publish(event)
        print("published")

atexit.register(last)
late = Late()
late.itself = [late]
"""


def test_events_published_as_the_interpreter_ends_break_nothing() -> None:
    """At exit they are delivered; later, as modules are taken apart, they are let go."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _AT_EXIT],
        capture_output=True, text=True, timeout=PATIENCE * 2, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.split()
    # An interpreter without a GIL may end without taking the garbage away.
    assert said == ["3", "published"] or (said == ["3"] and not has_gil())


# From a finalizer


def test_a_finalizer_waits_for_none_of_our_locks() -> None:
    """Another thread may hold each of them, and wait for us."""
    bus, sink = MemoryBus(), Sink()
    subscription: Any = bus.subscribe(sink)
    bus.subscribe_inline(lambda *_: None)
    locks = (
        bus._lock,
        bus._losses._lock,
        bus._within._left._lock,
        subscription.buffer._lock,
        subscription.losses._lock,
        subscription._starting,
        subscription._idle,
    )
    for lock in locks:
        lock.acquire()
    finalizer = threading.Thread(target=bus.publish_from_finalizer, args=(checked(1),))
    finalizer.daemon = True
    finalizer.start()
    finalizer.join(PATIENCE / 3)
    waits = finalizer.is_alive()
    for lock in locks:
        lock.release()
    assert not waits
    assert bus.close(PATIENCE)
    assert len(sink.events) == 1


def test_no_buffer_is_asked_under_the_buss_own_lock(bus: MemoryBus) -> None:
    """A buffer's worker holds the buffer's lock when the collector runs, and may come to ours."""
    subscription: Any = bus.subscribe(Sink())
    asking = threading.Thread(target=lambda: bus.lost, daemon=True)
    with subscription.buffer._lock, subscription.buffer._lost._lock:
        asking.start()
        taken = False
        for _ in range(20):  # it has taken what it takes first within the first of these
            asking.join(0.01)
            taken = bus._lock.acquire(timeout=PATIENCE / 3)  # it may just have it, for a moment
            if not taken:
                break
            bus._lock.release()
    asking.join(PATIENCE)
    assert taken


def test_what_finalizers_leave_is_bounded_and_what_falls_out_is_counted() -> None:
    bus, seen = MemoryBus(capacity=2), list[Event]()
    bus.subscribe_inline(lambda event, _: seen.append(event))
    sent = [checked(n) for n in range(5)]
    for event in sent:
        bus.publish_from_finalizer(event)
    assert bus.lost == {"queue_full": 3}
    assert bus.flush(PATIENCE)
    assert seen == sent[3:]
    assert bus.close(PATIENCE)


def test_what_gives_way_in_full_buffers_is_said_once_a_minute_with_its_number(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(losses, "monotonic", lambda: now[0])
    bus = MemoryBus(capacity=10)
    gate = Gate()
    first, second = bus.subscribe(gate, name="first"), bus.subscribe(gate, name="second")
    with caplog.at_level(logging.WARNING, "otel_dbevents"):
        for _ in range(3):
            for number in range(1000):
                bus.publish(checked(number))
            gate.opened.set()
            assert bus.flush(PATIENCE)
    [said] = caplog.messages
    assert "did not get " in said
    assert "its buffer of 10 was full, and the oldest gave way; OTEL_DBEVENTS_BUFFER_SIZE" in said
    caplog.clear()
    now[0] += 61
    with caplog.at_level(logging.WARNING, "otel_dbevents"):
        for subscriber in (first, second):  # whoever asks for the number hears of it too
            assert subscriber.lost["queue_full"] > 900
    [said] = caplog.messages
    assert said.startswith(f"first did not get {first.lost['queue_full']} events so far")
    assert bus.close(PATIENCE)


def test_what_is_remembered_is_bounded_before_any_worker_comes_by_too() -> None:
    class Held:
        """What an event that is not made yet keeps alive."""

    history, held = History(3), [Held() for _ in range(50)]
    alive = [weakref.ref(each) for each in held]
    while held:
        history.append(held.pop())  # type: ignore[arg-type]
    assert sum(each() is not None for each in alive) == 3

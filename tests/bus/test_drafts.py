"""Events that are still to be made when they are published: who makes them, and for whom."""

import threading
import weakref
from typing import Any, ClassVar

import pytest

from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.bus.unmade import deliveries_of
from otel_dbevents.drafts import Draft
from otel_dbevents.events import (
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    Event,
)
from tests.bus.contract import PATIENCE, Gate, Sink, checked, failed

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


class OneDraft(Draft, gc=False, eq=False):
    """Of a health check; it says on which threads it was made."""

    kinds: ClassVar[tuple[type[Event], ...]] = (DatabaseHealthCheckCompleted,)

    number: int
    threads: list[threading.Thread]

    def make(self) -> tuple[Event, ...]:
        self.threads.append(threading.current_thread())
        return (checked(self.number),)


class TwoDraft(Draft, gc=False, eq=False):
    """Of a failed connection and a health check."""

    kinds: ClassVar[tuple[type[Event], ...]] = (
        DatabaseConnectionFailed,
        DatabaseHealthCheckCompleted,
    )

    number: int

    def make(self) -> tuple[Event, ...]:
        return failed(self.number), checked(self.number)


class NoDraft(OneDraft, gc=False, eq=False):
    """Of what cannot be made."""

    def make(self) -> tuple[Event, ...]:
        return ()


@pytest.fixture
def bus() -> Any:
    made = MemoryBus()
    yield made
    assert made.close(PATIENCE)


def test_a_draft_is_made_once_by_a_worker_and_all_get_the_same_event(bus: MemoryBus) -> None:
    first, second, threads = Sink(), Sink(), list[threading.Thread]()
    bus.subscribe(first)
    bus.subscribe(second, DatabaseHealthCheckCompleted)
    bus.publish_draft(OneDraft({"a": 1}, 1, threads))
    assert bus.flush(PATIENCE)
    assert [context for _, context in first.deliveries] == [{"a": 1}]
    assert first.events[0] is second.events[0] is bus.history[0]
    assert first.events[0].id == second.events[0].id
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


def test_what_is_made_already_is_not_made_again_with_the_rest_of_its_batch() -> None:
    threads = list[threading.Thread]()
    drafts = [OneDraft(None, number, threads) for number in range(3)]
    before = drafts[1].events()[0]
    made = [event for event, _ in deliveries_of(drafts, ())]
    assert made[1] is before
    assert [event for event, _ in deliveries_of(drafts, ())] == made
    assert len(threads) == 3


def test_drafts_and_events_of_one_thread_come_in_their_order(bus: MemoryBus) -> None:
    sink = Sink()
    bus.subscribe(sink)
    for number in range(0, 90, 3):
        bus.publish(checked(number))
        bus.publish_draft(OneDraft(None, number + 1, []))
        bus.publish_from_finalizer(checked(number + 2))
    assert bus.flush(PATIENCE)
    assert [event.latency_ms for event in sink.events] == list(range(90))  # type: ignore[attr-defined]


def test_the_history_makes_what_nobody_subscribed_to(bus: MemoryBus) -> None:
    bus.publish_draft(TwoDraft(None, 1))
    assert [type(event) for event in bus.history] == [*TwoDraft.kinds]
    assert bus.history[0] is bus.history[0]


def test_the_history_keeps_nobodys_context(bus: MemoryBus) -> None:
    class Context(dict[str, Any]):
        """As OpenTelemetry's, it can be referred to weakly."""

    bus.subscribe(lambda batch: None)
    context = Context()
    gone = weakref.ref(context)
    bus.publish_draft(TwoDraft(context, 1))
    del context
    assert bus.flush(PATIENCE)
    assert gone() is None
    assert [type(event) for event in bus.history] == [*TwoDraft.kinds]


def test_of_two_events_in_a_draft_a_subscriber_gets_those_that_it_asked_for(
    bus: MemoryBus,
) -> None:
    everything, some = Sink(), Sink()
    bus.subscribe(everything)
    bus.subscribe(some, DatabaseHealthCheckCompleted)
    bus.publish_draft(TwoDraft(None, 1))
    assert bus.flush(PATIENCE)
    assert [type(event) for event in everything.events] == [*TwoDraft.kinds]
    assert some.events == everything.events[1:]


def test_an_inline_handler_has_it_made_at_once_only_where_it_wants_it(bus: MemoryBus) -> None:
    called, threads = list[Event](), list[threading.Thread]()
    bus.subscribe_inline(
        lambda event, _: called.append(event), wanted=lambda context: context is not None
    )
    bus.publish_draft(OneDraft(None, 1, threads))
    assert (called, threads) == ([], [])
    bus.publish_draft(OneDraft({}, 2, threads))
    assert [event.latency_ms for event in called] == [2]  # type: ignore[attr-defined]
    assert threads == [threading.current_thread()]


@pytest.mark.swallows
def test_an_inline_handler_that_cannot_say_whether_it_wants_it_is_called(bus: MemoryBus) -> None:
    called = list[Event]()
    bus.subscribe_inline(lambda event, _: called.append(event), wanted=lambda _: bool(1 / 0))
    bus.publish_draft(OneDraft(None, 1, []))
    assert len(called) == 1


def test_in_synchronous_mode_a_draft_is_handled_within_publish() -> None:
    bus, sink = MemoryBus(synchronous=True), Sink()
    bus.subscribe(sink)
    bus.publish_draft(TwoDraft(None, 1))
    assert [type(event) for event in sink.events] == [*TwoDraft.kinds]


def test_what_cannot_be_made_costs_nobody_anything_else(bus: MemoryBus) -> None:
    sink = Sink()
    bus.subscribe(sink)
    bus.publish_draft(NoDraft(None, 1, []))
    bus.publish_draft(OneDraft(None, 2, []))
    assert bus.flush(PATIENCE)
    assert [event.latency_ms for event in sink.events] == [2]  # type: ignore[attr-defined]


def test_each_event_of_a_draft_that_is_dropped_is_counted() -> None:
    """By each subscriber those that it would have got."""
    bus, gate, other = MemoryBus(history=0), Gate(), Gate()
    everything = bus.subscribe(gate, capacity=2)
    some = bus.subscribe(other, DatabaseConnectionFailed, capacity=2)
    bus.publish(failed(0))
    assert gate.entered.wait(PATIENCE)
    assert other.entered.wait(PATIENCE)
    for number in range(5):
        bus.publish_draft(TwoDraft(None, number))
    assert everything.lost == {"queue_full": 6}
    assert some.lost == {"queue_full": 3}
    gate.opened.set()
    other.opened.set()
    assert bus.close(PATIENCE)
    assert bus.lost == {"queue_full": 9}
    bus.publish_draft(TwoDraft(None, 9))
    assert bus.lost == {"queue_full": 9, "closed": 2}

"""The bus on Redis Streams keeps the contract on a real Redis; and where it differs from memory."""

import threading
from typing import Any

import pytest

from otel_dbevents.bus import subscription
from otel_dbevents.bus.redis.bus import RedisBus
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.events import Event
from tests.bus.contract import (
    PATIENCE,
    BusContract,
    Gate,
    Make,
    Sink,
    checked,
    failed,
    in_child,
    publish_in_threads,
)
from tests.services.process import wait_until
from tests.services.redis import Redis

KEY = "a key of the tests, long enough"


class TestRedisBus(BusContract):
    """What the contract has beyond a bus that takes time is tested below in its own way."""

    has_context = False

    @pytest.fixture(autouse=True)
    def soon_idle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(subscription, "_IDLE_SECONDS", 0.3)

    @pytest.fixture(autouse=True)
    def server(self, redis: Redis) -> None:
        self.redis = redis

    def make(self, **options: Any) -> RedisBus:
        return RedisBus(self.redis.url, self.redis.stream(), keys=Keyring(KEY), **options)

    # What is on its way when a subscriber comes or goes is not in its buffer.
    test_a_later_subscriber_gets_what_is_published_after_it = None
    test_a_consumer_is_told_when_its_subscription_has_ended = None
    test_what_is_in_the_buffer_is_handled_when_a_subscription_ends = None
    test_losses_outlive_their_subscription = None
    # Losses are counted where the events arrive, which takes time.
    test_every_event_is_delivered_or_counted_when_a_buffer_is_full = None
    test_losses_add_up_while_the_worker_runs = None
    test_the_oldest_is_dropped = None
    # The context does not come along.
    test_what_a_finalizer_publishes_is_brought_by_the_worker = None
    # A child's events reach the parent too.
    test_a_forked_child_starts_empty_and_the_parent_delivers_what_it_had = None
    # There is no synchronous mode.
    test_in_synchronous_mode_all_is_handled_when_publish_returns = None
    test_in_synchronous_mode_a_consumer_is_idle_after_each_event = None
    test_in_synchronous_mode_what_handlers_publish_follows_after = None
    test_in_synchronous_mode_a_finalizers_event_waits_for_the_next = None
    test_in_synchronous_mode_errors_are_counted_and_cancel_works = None
    test_in_synchronous_mode_a_coroutine_handler_runs_beside = None

    def test_a_full_buffer_drops_the_oldest_and_counts_them(self, new: Make) -> None:
        bus, gate, wide = new(), Gate(), Sink()
        narrow = bus.subscribe(gate, capacity=7)
        bus.subscribe(wide)
        bus.publish(failed(0, "first"))
        assert gate.entered.wait(PATIENCE)
        publish_in_threads(bus, threads=8, each=500)
        wait_until(lambda: len(wide.events) == 4_001)
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert len(gate.got) == 1 + 7
        assert [event for event, _ in gate.got[1:]] == wide.events[-7:]
        assert narrow.lost == bus.lost == {"queue_full": 4_000 - 7}

    def test_what_a_finalizer_publishes_arrives(self, bus: RedisBus) -> None:
        sink = Sink()
        bus.subscribe(sink)
        a, b = checked(1), checked(2)
        bus.publish(a)
        assert bus.flush(PATIENCE)
        bus.publish_from_finalizer(b)
        assert bus.flush(PATIENCE)
        assert sink.events == [a, b]

    def test_what_has_arrived_is_handled_when_a_subscription_ends(self, bus: RedisBus) -> None:
        gate, sink = Gate(), Sink()
        subscribed = bus.handle(gate)
        bus.subscribe(sink)
        sent = [checked(n) for n in range(5)]
        for event in sent:
            bus.publish(event)
        wait_until(lambda: len(sink.events) == 5)
        subscribed.cancel()
        gate.opened.set()
        assert bus.flush(PATIENCE)
        assert gate.got == sent

    def test_another_bus_on_the_stream_gets_the_same_events(self, redis: Redis) -> None:
        stream, sink = redis.stream(), Sink()
        one, other = RedisBus(redis.url, stream), RedisBus(redis.url, stream)
        other.subscribe(sink)
        other.publish(checked(0))  # it listens from its first event on
        assert other.flush(PATIENCE)
        sent = [checked(n) for n in range(1, 300)]
        for event in sent:
            one.publish(event)
        assert one.flush(PATIENCE)
        wait_until(lambda: sink.events[1:] == sent)
        assert one.close(PATIENCE)
        assert other.close(PATIENCE)
        assert one.lost == other.lost == {}

    def test_a_forked_child_ships_its_own_and_the_parents_come_once(self, bus: RedisBus) -> None:
        sink, gate = Sink(), Gate()
        bus.subscribe(sink)
        bus.handle(gate)
        bus.publish(checked(0))
        assert gate.entered.wait(PATIENCE)
        bus.publish(checked(1))

        def child() -> object:
            sink.deliveries.clear()
            gate.opened = threading.Event()
            gate.opened.set()
            gate.got.clear()
            bus.publish(checked(2))
            flushed = bus.flush(PATIENCE)
            mine = [event.latency_ms for event in sink.events].count(2.0)
            return dict(bus.lost), flushed, mine, bus.close(PATIENCE)

        assert in_child(child) == "({}, True, 1, True)"
        gate.opened.set()
        assert bus.flush(PATIENCE)
        wait_until(lambda: len(sink.events) == 3)
        assert sorted(event.latency_ms for event in sink.events) == [0, 1, 2]
        assert bus.lost == {}

    @pytest.mark.swallows
    def test_a_bus_without_a_redis_takes_events_and_ends_in_time(self) -> None:
        bus = RedisBus("redis://127.0.0.1:9/0", "nowhere")
        got: list[Event] = []
        bus.handle(got.append)
        for number in range(10):
            bus.publish(checked(number))
        assert bus.flush(0.1) is False
        assert bus.close(0.3) is False
        assert got == []

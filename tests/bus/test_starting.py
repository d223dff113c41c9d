"""A worker's beginning, interrupted: the next event has another, and there is one at a time."""

import threading
from typing import Any

import pytest

from otel_dbevents.bus import subscription
from otel_dbevents.bus.memory import MemoryBus
from tests.bridge.support import established


class Interrupted(threading.Thread):
    """Ctrl-C comes while it is started, before or after it has begun."""

    has_begun = False
    times = 1

    def start(self) -> None:
        if not Interrupted.times:
            return super().start()
        Interrupted.times -= 1
        if Interrupted.has_begun:
            super().start()
        raise KeyboardInterrupt


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_worker_whose_beginning_ctrl_c_interrupted_is_replaced(
    has_begun: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def new_thread(name: str, target: Any, *arguments: Any) -> threading.Thread:
        return Interrupted(name=name, target=target, args=arguments, daemon=True)

    monkeypatch.setattr(Interrupted, "has_begun", has_begun)
    monkeypatch.setattr(Interrupted, "times", 1)
    monkeypatch.setattr(subscription, "new_thread", new_thread)
    bus, brought, by = MemoryBus(), [], set()

    def take(batch: Any) -> None:
        brought.extend(event for event, _ in batch)
        by.add(threading.current_thread())

    bus.subscribe(take)
    events = [established(), established(), established()]
    with pytest.raises(KeyboardInterrupt):
        bus.publish(events[0])
    for event in events[1:]:
        bus.publish(event)
        assert bus.flush()
    assert brought == events
    assert len(by) == 1
    assert bus.close()

"""Keys are exchanged as docs/sidecar.md says it, while applications work: nothing is lost."""

import threading
import time
from collections import Counter
from typing import Any

import pytest

from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.dead import DeadLetters
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from tests.bus.contract import checked
from tests.services.process import wait_until
from tests.services.redis import Redis

OLD, NEW = "the key that there was, long enough", "the key that there will be, long too"
pytestmark = pytest.mark.newest


class Works:
    """Does something over and over on a thread of its own, from `start` to `stop`."""

    def __init__(self) -> None:
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> Any:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._enough.set()
        self._thread.join()
        self.end()

    def _run(self) -> None:
        while not self._enough.is_set():
            self.step()

    def step(self) -> None: ...
    def end(self) -> None: ...


class Application(Works):
    def __init__(self, redis: Redis, stream: str, keys: Keyring) -> None:
        super().__init__()
        self.sender, self.made = Sender(redis.url, stream, keys=keys), 0

    def step(self) -> None:
        self.sender.consume([(checked(self.made + number), None) for number in range(3)])
        self.made += 3
        time.sleep(0.001)

    def end(self) -> None:
        assert self.sender.finish(60)


class Sidecar(Works):
    def __init__(self, redis: Redis, stream: str, keys: Keyring) -> None:
        super().__init__()
        self.reader = Reader(redis.url, stream, "sidecar", keys=keys, claim_after_s=60)
        self.got: Counter[tuple[str, float]] = Counter()

    def step(self) -> None:
        held = self.reader.read(10, 0.01)
        self.got.update(
            (each.entry.line, event.latency_ms)  # type: ignore[attr-defined]
            for each in held
            for event in each.events
        )
        self.reader.commit(held)
        self.reader.settle()

    def end(self) -> None:
        self.reader.close()


def test_keys_are_exchanged_under_load_and_nothing_is_lost(redis: Redis) -> None:
    stream, client = redis.stream(), connect(redis.url)
    old, both, new = Keyring(OLD), Keyring(NEW, OLD), Keyring(NEW)
    applications = [Application(redis, stream, old).start() for _ in range(2)]
    sidecars = [Sidecar(redis, stream, old).start() for _ in range(2)]
    running = list(sidecars)

    def restart(keys: Keyring) -> None:
        """Exchange one sidecar after the other, each once it has had something to do."""
        for number, each in enumerate(list(running)):
            wait_until(lambda each=each: bool(each.got))
            each.stop()
            running[number] = Sidecar(redis, stream, keys).start()
            sidecars.append(running[number])

    restart(both)
    for each in applications[:]:
        each.stop()
        applications.append(Application(redis, stream, new).start())
    wait_until(lambda: all(each.made for each in applications))
    last = client.xinfo_stream(stream)["last-generated-id"]
    wait_until(lambda: client.xinfo_groups(stream)[0]["last-delivered-id"] >= last)
    restart(new)  # what is written by now is signed with the new key alone
    for each in applications[2:]:
        each.stop()
    made = sum(each.made for each in applications)
    wait_until(lambda: sum(each.got.total() for each in sidecars) >= made)
    for each in running:
        each.stop()
    got = sum((each.got for each in sidecars), Counter[tuple[str, float]]())
    assert (len(got), set(got.values())) == (made, {1})
    assert sum((each.reader.counts.lost for each in sidecars), Counter[str]()) == {}
    assert list(DeadLetters(client, stream).all()) == []
    client.close()

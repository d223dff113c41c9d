"""Handlers in the sidecar: found, given each event of their types, each with its own failures."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.dead import DeadLetters
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.config import ConfigError
from otel_dbevents.events import (
    DatabaseConnectionFailed,
    DatabaseHealthCheckCompleted,
    Event,
    SlowQueryDetected,
)
from otel_dbevents.sidecar import finding
from otel_dbevents.sidecar.finding import Handler, find_handlers, group_of
from otel_dbevents.sidecar.handlers import Handling
from tests.bus.contract import checked, failed
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.sidecar.running import settings, sidecar


class Room:
    """A stream, and handlers of it."""

    def __init__(self, redis: Redis) -> None:
        self.redis, self.stream = redis, redis.stream()
        self.client: Any = connect(redis.url)
        self.sender = Sender(redis.url, self.stream)
        self.letters = DeadLetters(self.client, self.stream)
        self.all: list[Handling] = []

    def publish(self, *events: Event) -> None:
        self.sender.consume([(event, None) for event in events])

    def handle(
        self, call: Callable[[Any], Any], *types: type[Event], name: str = "one"
    ) -> Handling:
        handler = Handler(name, call, types)
        reader = Reader(
            self.redis.url, self.stream, group_of(handler), buries=False, claim_after_s=0.05
        )
        self.all.append(Handling(handler, reader, self.redis.url, least_s=0.001))
        self.all[-1].start()
        return self.all[-1]

    def waiting(self, name: str = "one") -> int:
        found = {each["name"]: each for each in self.client.xinfo_groups(self.stream)}
        group = found.get(f"handler:{name}".encode())
        return -1 if group is None else (group["lag"] or 0) + group["pending"]

    def close(self) -> None:
        for each in self.all:
            each.stop()
        for each in self.all:
            each.join(100)
        self.sender.finish(1)
        self.client.close()


@pytest.fixture
def room(redis: Redis) -> Iterator[Room]:
    made = Room(redis)
    yield made
    made.close()


def numbers(events: list[Any]) -> list[float]:
    return [event.latency_ms for event in events]


def test_each_gets_the_events_of_its_types_in_order(room: Room) -> None:
    plain: list[Any] = []
    awaited: list[Any] = []

    async def take(event: DatabaseConnectionFailed) -> None:
        awaited.append(event)

    room.publish(checked(1), failed(2))  # before there is any
    room.handle(plain.append, DatabaseHealthCheckCompleted)
    room.handle(take, DatabaseConnectionFailed, name="two")
    room.publish(failed(3), checked(4), checked(5))
    wait_until(lambda: room.waiting() == room.waiting("two") == 0)
    assert numbers(plain) == [1, 4, 5]
    assert [event.retry_count for event in awaited] == [2, 3]
    wait_until(lambda: [each.progress.handled for each in room.all] == [3, 2])


@pytest.mark.swallows
def test_what_fails_three_times_is_a_dead_letter_of_that_handler_alone(room: Room) -> None:
    tried: list[Any] = []
    other: list[Any] = []

    def fail(event: Any) -> None:
        tried.append(event)
        if event.latency_ms in (2, 3):
            raise SystemExit("Xq7 a value")

    failing = room.handle(fail)
    room.handle(other.append, name="two")
    room.publish(checked(1), checked(2), checked(3), checked(4))
    wait_until(lambda: room.waiting() == room.waiting("two") == 0)
    wait_until(lambda: failing.progress.handled == 2)  # it notes that after Redis does
    assert numbers(tried) == [1, 2, 2, 2, 3, 3, 3, 4]
    assert numbers(other) == [1, 2, 3, 4]
    [letter] = room.letters.all()
    assert (letter.reason, letter.stage, letter.handler) == ("SystemExit", "handler", "one")
    assert (letter.tries, letter.chosen, letter.events) == (3, (1, 2), 2)
    assert failing.counts.lost == {"rejected": 2}
    assert (failing.progress.handled, failing.progress.dead) == (2, 2)
    assert failing.progress.retries == 4
    room.letters.retry(letter)
    wait_until(lambda: room.waiting() == room.waiting("two") == 0 and len(tried) == 14)
    assert numbers(tried)[8:] == [2, 2, 2, 3, 3, 3]
    assert numbers(other) == [1, 2, 3, 4]
    [again] = room.letters.all()
    assert again.id != letter.id
    assert failing.counts.lost == {"rejected": 2}


@pytest.mark.swallows
@pytest.mark.parametrize("is_async", [False, True])
def test_what_fails_once_is_tried_again_and_is_no_loss(room: Room, is_async: bool) -> None:
    tried: list[Any] = []

    def fail_once(event: Any) -> None:
        tried.append(event)
        if len(tried) == 1:
            raise ValueError("Xq7")

    async def awaited(event: Any) -> None:
        fail_once(event)

    handling = room.handle(awaited if is_async else fail_once)
    room.publish(checked(1), checked(2))
    wait_until(lambda: room.waiting() == 0)
    assert numbers(tried) == [1, 1, 2]
    assert list(room.letters.all()) == []
    assert dict(handling.counts.lost) == {}


def test_one_that_stands_still_holds_up_nobody_and_loses_nothing_when_killed(room: Room) -> None:
    entered, opened, quick = threading.Event(), threading.Event(), list[Any]()

    def stand_still(event: Any) -> None:
        entered.set()
        opened.wait(300)

    stuck = room.handle(stand_still)
    room.handle(quick.append, name="two")
    room.publish(checked(1), checked(2))
    assert entered.wait(100)
    wait_until(lambda: room.waiting("two") == 0)
    assert numbers(quick) == [1, 2]
    assert room.waiting() == 1
    stuck.stop()
    opened.set()
    stuck.join(100)
    assert room.waiting() == 1  # its second event was not given
    later: list[Any] = []
    room.handle(later.append)
    wait_until(lambda: room.waiting() == 0)
    assert numbers(later) == [1, 2]


def test_what_was_before_its_group_is_no_loss_and_what_it_is_too_slow_for_is(room: Room) -> None:
    for number in range(6):
        room.publish(checked(number))
    room.client.xtrim(room.stream, maxlen=3, approximate=False)
    opened, got = threading.Event(), list[Any]()

    def wait(event: Any) -> None:
        opened.wait(300)
        got.append(event)

    handling = room.handle(wait)
    wait_until(lambda: handling.counts.read == 3)
    for number in range(6, 20):
        room.publish(checked(number))
    room.client.xtrim(room.stream, maxlen=2, approximate=False)
    opened.set()
    wait_until(lambda: handling.counts.lost["trimmed"] == 12)
    assert numbers(got) == [3, 4, 5, 18, 19]


def test_bad_entries_are_put_aside_once_and_not_by_every_handler(room: Room) -> None:
    room.client.xadd(room.stream, {"hello": "world"})
    got: list[Any] = []
    handling = room.handle(got.append)
    room.publish(checked(1))
    wait_until(lambda: room.waiting() == 0)
    assert numbers(got) == [1]
    assert list(room.letters.all()) == []
    assert dict(handling.counts.dead_letters) == {}


class Renewing(Reader):
    """Counts how often it says that it is at work."""

    times = 0

    def renew(self) -> None:
        self.times += 1
        super().renew()


def test_what_takes_long_for_all_of_an_entry_is_renewed_between_its_events(room: Room) -> None:
    reader = Renewing(room.redis.url, room.stream, "handler:long", buries=False, claim_after_s=0.08)
    handling = Handling(Handler("long", lambda _: time.sleep(0.03), ()), reader, room.redis.url)
    room.all.append(handling)
    room.publish(*(checked(number) for number in range(6)))
    handling.start()
    wait_until(lambda: handling.progress.handled == 6)
    assert reader.times >= 4


class Named:
    types: ClassVar = (SlowQueryDetected, DatabaseConnectionFailed)

    def __call__(self, event: Any) -> None: ...


def union(event: SlowQueryDetected | DatabaseConnectionFailed) -> None: ...
def one(event: SlowQueryDetected) -> None: ...
async def every(event: Event) -> None: ...
def untold(event) -> None: ...
def wrong(event: int) -> None: ...
def unknown(event: "Nowhere") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def nothing() -> None: ...


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    made = ModuleType("shop_handlers")
    for each in (union, one, every, untold, wrong, unknown, nothing):
        setattr(made, each.__name__, each)
    made.named, made.number = Named(), 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_handlers", made)
    return made


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("one", (SlowQueryDetected,)),
        ("union", (SlowQueryDetected, DatabaseConnectionFailed)),
        ("named", (SlowQueryDetected, DatabaseConnectionFailed)),
        ("every", ()),
        ("untold", ()),
    ],
)
def test_types_are_said_by_annotation_or_attribute(
    module: ModuleType, name: str, types: tuple[type[Event], ...]
) -> None:
    [found] = find_handlers([f"shop_handlers:{name}"])
    assert found.types == types
    assert found.call is getattr(module, name)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["shop_handlers"], "names no handler: a handler is named module:function"),
        (["shop_handlers:absent"], "has no attribute 'absent'"),
        (["no_such_module:x"], "No module named 'no_such_module'"),
        (["shop_handlers:number"], "cannot be called"),
        (["shop_handlers:wrong"], "annotate its parameter, as in"),
        (["shop_handlers:unknown"], "annotate its parameter, as in"),
        (["shop_handlers:nothing"], "annotate its parameter, as in"),
        (["shop_handlers:one"] * 2, "two handlers have the name shop_handlers:one"),
    ],
)
def test_one_that_cannot_be_had_is_refused_with_the_mend(
    module: ModuleType, names: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        find_handlers(names)


def test_those_of_installed_packages_are_found(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = EntryPoint("mail", "shop_handlers:one", finding.GROUP)
    monkeypatch.setattr(finding, "entry_points", lambda group: (point,) if group else ())
    [found] = find_handlers([])
    assert (found.name, group_of(found), found.types) == (
        "mail",
        "handler:mail",
        (SlowQueryDetected,),
    )


HANDLERS = """
from pathlib import Path
from otel_dbevents.events import DatabaseHealthCheckCompleted
def note(event: DatabaseHealthCheckCompleted) -> None:
    with Path(__file__).with_name("noted").open("a") as file:
        file.write(f"{event.latency_ms:g}\\n")
    if event.latency_ms == 3:
        import time
        time.sleep(60 if len(Path(__file__).with_name("noted").read_text().split()) < 4 else 0)
"""


def test_a_sidecar_that_is_killed_within_a_handler_loses_it_no_event(
    redis: Redis, tmp_path: Path
) -> None:
    stream = redis.stream()
    told = settings(redis, stream, "http://127.0.0.1:9")
    told |= {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
    told |= {"OTEL_LOGS_EXPORTER": "none"}
    told["PYTHONPATH"] = f"{told['PYTHONPATH']}:{tmp_path}"
    del told["OTEL_DBEVENTS_SIGNING_KEY"]
    (tmp_path / "noting.py").write_text(HANDLERS)
    noted = tmp_path / "noted"
    sender = Sender(redis.url, stream)
    sender.consume([(checked(number), None) for number in (1, 2, 3, 4)])
    given = ("--handler", "noting:note", "--claim-after", "0.2")
    with sidecar(tmp_path, told, *given, name="first") as first:
        wait_until(lambda: noted.exists() and noted.read_text().endswith("3\n"))
        first.process.kill()
    with sidecar(tmp_path, told, *given, name="second") as second:
        wait_until(lambda: noted.read_text().endswith("4\n"))
        name = 'handler_events_total{handler="noting:note"}'
        wait_until(lambda: second.numbers()[name] == 4)
    assert noted.read_text().split() == ["1", "2", "3", "1", "2", "3", "4"]
    assert second.process.exit_status == 0
    sender.finish(1)

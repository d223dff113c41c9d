"""One fault after the other, with real processes: made = delivered + counted lost, exactly."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otel_dbevents.bus.redis.connecting import connect
from tests.demo.receiver import Receiver, receiving
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.services.proxy import Proxy, proxy
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis
from tests.sidecar.rude import BUSY_S, RudeReceiver, rude
from tests.sidecar.running import (
    PATIENT_S,
    SOON_S,
    Shop,
    Sidecar,
    came,
    counted,
    query_spans,
    settings,
    sidecar,
    told_lost,
)

pytestmark = [
    pytest.mark.newest,
    pytest.mark.beside,
    pytest.mark.swallows(sometimes=True),
]

STREAM = "events"


class World:
    """An application that works on, its Redis behind a proxy, and a sidecar."""

    def __init__(self, server: Redis, between: Proxy, shop: Shop, running: Sidecar) -> None:
        self.server, self.proxy, self.shop, self.sidecar = server, between, shop, running
        self.told: dict[str, str] = {}
        self.admin: Any = connect(server.url)

    def goes_on(self) -> None:
        """Wait until events go through again, and the sidecar has handled later ones."""
        shipped = self.shop.sender.shipped
        wait_until(lambda: self.shop.sender.shipped > shipped)
        handled = self.handled()
        wait_until(lambda: self.handled() > handled)

    def goes_on_to(self, number: int) -> None:
        """Wait until so many events were handled."""
        wait_until(lambda: self.handled() >= number)

    def handled(self) -> float:
        return self.sidecar.numbers().get("events_handled_total", 0.0)

    def retries(self) -> float:
        """Return how often the collector did not take something."""
        return self.sidecar.numbers().get("export_retries_total", 0.0)

    def lost(self) -> float:
        """Return how many events are counted as lost, on both sides."""
        numbers = self.sidecar.numbers()
        there = sum(n for name, n in numbers.items() if name.startswith("events_lost_total"))
        return there + sum(self.shop.bus.lost.values()) + sum(self.shop.sender.lost.values())

    def fails(self, why: str) -> None:
        """Wait until the application's side says so."""
        wait_until(
            lambda: why in self.shop.sender.trouble, why=lambda: repr(self.shop.sender.trouble)
        )


def cut(world: World) -> None:
    world.proxy.cut()


def slow(world: World) -> None:
    world.proxy.delay_s = 0.2
    world.goes_on()
    world.proxy.delay_s = 0.0


def half_answers(world: World) -> None:
    for word in (b"XADD", b"XREADGROUP", b"XACK"):
        before = world.proxy.swallowed
        world.proxy.halve(word)
        wait_until(lambda before=before: world.proxy.swallowed > before)


def standing_still(world: World) -> None:
    world.server.process.send(signal.SIGSTOP)
    try:
        world.fails("does not answer in time")
    finally:
        world.server.process.send(signal.SIGCONT)


def no_permission(world: World) -> None:
    world.admin.execute_command("ACL", "SETUSER", "default", "-xadd", "-xreadgroup")
    world.fails("the user may not do that")
    world.admin.execute_command("ACL", "SETUSER", "default", "+@all")


def full(world: World) -> None:
    world.admin.config_set("maxmemory", "1")
    world.fails("its memory is full")
    world.admin.config_set("maxmemory", "0")


def replica(world: World) -> None:
    world.admin.execute_command("REPLICAOF", "127.0.0.1", str(free_ports(1)[0]))
    world.fails("it is a replica")
    world.admin.execute_command("REPLICAOF", "NO", "ONE")


def poison(world: World) -> None:
    for _ in range(3):
        world.admin.xadd(STREAM, {b"body": b"\xc1 no entry of ours"})


REDIS_FAULTS = (cut, slow, half_answers, standing_still, no_permission, full, replica, poison)


@contextmanager
def working(work: Callable[[], object]) -> Iterator[None]:
    """Do it over and over on another thread, within the block."""
    enough = threading.Event()
    thread = threading.Thread(target=lambda: [work() for _ in iter(enough.is_set, True)])
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@contextmanager
def world_with(
    tmp_path: Path, receiver: Receiver, *options: str, within_s: float = PATIENT_S
) -> Iterator[World]:
    directory = tmp_path / "redis"
    directory.mkdir()
    with run_redis(directory) as server, proxy(server.port) as between:
        there = replace(server, port=between.port)
        told = settings(there, STREAM, receiver.endpoint, within_s)
        with sidecar(tmp_path, told, *options) as running:
            world = World(server, between, Shop(there, STREAM), running)
            world.told = told
            yield world
            world.admin.close()


def all_is_accounted_for(
    world: World, receiver: Receiver, refused: Callable[[], int] = int
) -> None:
    """Each query has one span, or is counted as lost, and the numbers know each once."""
    world.shop.end()
    made = world.shop.made
    wait_until(
        lambda: len(query_spans(receiver)) + refused() + world.lost() == made,
        why=lambda: f"{made} made, {len(query_spans(receiver))} came, {world.lost()} lost. "
        f"{world.sidecar.process.last_words()}",
    )
    wait_until(lambda: world.sidecar.numbers()["lag_entries"] == 0)
    wait_until(
        lambda: counted(receiver) + world.lost() == made, why=lambda: f"{counted(receiver)} counted"
    )
    assert came(receiver)
    assert world.sidecar.process.running


def test_what_may_happen_to_a_redis_costs_nothing_that_is_not_counted(tmp_path: Path) -> None:
    soon = ("--claim-after", "3")  # an answer that was cut gave entries to nobody, until then
    with receiving() as receiver, world_with(tmp_path, receiver, *soon) as world:
        with working(lambda: world.shop.run(1, 0.002)):
            for fault in REDIS_FAULTS:
                world.goes_on()
                fault(world)
            world.goes_on()
        all_is_accounted_for(world, receiver)
        assert world.lost() == 0  # each of these was waited for
        dead = [n for name, n in world.sidecar.numbers().items() if name.startswith("dead_letters")]
        assert sum(dead) == 3


def test_a_redis_that_forgets_everything_costs_what_is_counted(tmp_path: Path) -> None:
    with receiving() as receiver, world_with(tmp_path, receiver) as world:
        with working(lambda: world.shop.run(1, 0.001)):
            world.goes_on()
            world.sidecar.process.send(signal.SIGSTOP)  # so that there is something unread
            shipped = world.shop.sender.shipped
            wait_until(lambda: world.shop.sender.shipped > shipped + 200)
            world.admin.flushall()
            world.sidecar.process.send(signal.SIGCONT)
            world.goes_on()
        all_is_accounted_for(world, receiver)
        assert world.lost() > 0
        wait_until(
            lambda: told_lost(receiver) == world.lost(), why=lambda: f"{told_lost(receiver)} told"
        )


def test_what_may_happen_to_a_collector_is_waited_for_and_told_once(tmp_path: Path) -> None:
    with rude() as receiver, world_with(tmp_path, receiver, within_s=SOON_S) as world:
        with working(lambda: world.shop.run(1, 0.002)):
            for fault, signal_ in RudeReceiver.PASSING:
                world.shop.check()
                receiver.fault, receiver.only = fault, signal_
                before = world.retries()
                wait_until(lambda before=before: world.retries() > before)
                what = f"the collector does not take {signal_}"
                wait_until(lambda what=what: what in world.sidecar.get("/readyz")[1])
                receiver.fault = receiver.only = ""
                world.goes_on()
            receiver.faults.extend(["400"] * 2)  # halves of it are taken
            receiver.refuses_some = True
            world.goes_on()
            wait_until(lambda: bool(receiver.refused))
        all_is_accounted_for(world, receiver, refused=lambda: len(receiver.refused))
        told = world.sidecar.numbers()['refused_total{signal="traces"}']
        assert told == len(receiver.refused)
        assert receiver.halved >= 2
        assert len(receiver.log_events) == world.shop.records
        assert world.lost() == 0


def test_a_collector_that_asks_for_more_time_than_exporters_wait_gets_it_and_nothing_is_lost(
    tmp_path: Path,
) -> None:
    soon = ("--claim-after", "2.5")  # another would take over what is not renewed meanwhile
    with rude() as receiver, world_with(tmp_path, receiver, *soon, within_s=SOON_S) as world:
        receiver.faults.append("busy")
        world.shop.run(50)
        wait_until(lambda: receiver.busy_until > 0)
        with sidecar(tmp_path, world.told, *soon, name="other") as other:
            all_is_accounted_for(world, receiver)
            assert other.numbers()["events_read_total"] == 0
        assert receiver.too_soon == 0
        assert world.lost() == 0
        pause_s = world.sidecar.numbers()["collector_pause_seconds"]
        assert pause_s == BUSY_S or world.retries() > 1  # it tells of the last


def test_what_a_collector_takes_but_for_a_part_is_counted_said_and_not_sent_again(
    tmp_path: Path,
) -> None:
    with rude() as receiver, world_with(tmp_path, receiver) as world:
        for receiver.fault in ("part", "half yes", "part", ""):
            world.shop.run(50)
            world.shop.check(5)
            world.goes_on_to(world.shop.made + world.shop.records)
        all_is_accounted_for(world, receiver, refused=lambda: receiver.rejected["traces"])
        said, numbers = world.sidecar.process.log.read_text(), world.sidecar.numbers()
        for signal in ("traces", "logs", "metrics"):
            rejected = numbers[f'refused_total{{signal="{signal}"}}']
            assert rejected == receiver.rejected[signal] >= 2
            assert said.count(f"refused 1 of the {signal} for good (too old)") == 1
        assert len(receiver.log_events) + receiver.rejected["logs"] == world.shop.records
        assert numbers["log_records_exported_total"] == len(receiver.log_events)
        assert numbers["spans_exported_total"] == len(receiver.spans)
        assert world.lost() == world.retries() == 0

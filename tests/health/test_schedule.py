"""The schedule checks each database in its turn, jittered, and never twice at a time."""

import gc
import threading
import weakref

import pytest
from opentelemetry.context import get_current

from otel_dbevents.ending import ending
from otel_dbevents.events import Database, DatabaseType, Environment
from otel_dbevents.health.checks import Checks
from otel_dbevents.health.schedule import NAME, Schedule
from otel_dbevents.health.targets import Target
from otel_dbevents.sources.caller import suppressed
from tests.services.process import wait_until

pytestmark = [
    pytest.mark.newest,  # once is enough, whatever the versions
    pytest.mark.usefixtures("no_schedule"),
]


class Thing:
    """Something that can be checked."""


class Probe:
    """Answers at once, or when it is let go."""

    def __init__(self):
        self.asked = 0
        self.go = threading.Event()
        self.go.set()

    def ask(self, stages):
        self.asked += 1
        stages.connected()
        self.go.wait(300)
        stages.answered()


def target(name="shop"):
    return Target(Thing(), Database(Environment.LOCAL, DatabaseType.SQLITE, name), Probe())


class Patient(Checks):
    """Gives up soon what hangs, and nothing else."""

    def begin(self, target, timeout_ms=None):
        return super().begin(target, 60_000 if target.probe.go.is_set() else 30)


class Room:
    """A schedule whose clock and chance are ours."""

    def __init__(self, *targets, interval_s=30, chance=0.5):
        self.now, self.events = 0.0, []
        self.checks = Patient(publish=lambda e, _: self.events.append(e))
        self.targets = list(targets)
        self.schedule = Schedule(
            self.checks,
            lambda: self.targets,
            interval_s,
            clock=lambda: self.now,
            chance=lambda: chance,
        )

    def at(self, seconds):
        self.now = seconds
        return self.schedule.tick()

    def told(self, number):
        wait_until(lambda: len(self.events) == number)
        wait_until(lambda: all(c.round.is_over for c in self.schedule._running.values()))


def test_the_first_check_comes_after_a_part_of_the_interval():
    room = Room(target())
    room.at(0)
    room.at(14.9)
    assert room.targets[0].probe.asked == 0
    room.at(15)
    room.told(1)
    assert room.targets[0].probe.asked == 1


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 27), (0.5, 30), (1.0, 33)])
def test_a_tenth_of_the_interval_is_left_to_chance(chance, wait):
    room = Room(target(), chance=chance)
    room.at(0)
    room.at(30)
    room.told(1)
    room.at(30 + wait - 0.1)
    assert room.targets[0].probe.asked == 1
    room.at(30 + wait)
    room.told(2)


def test_what_was_missed_is_not_made_up_for():
    room = Room(target())
    room.at(0)
    room.at(3_000)
    room.told(1)
    room.at(3_001)
    room.at(3_029)
    assert room.targets[0].probe.asked == 1


def test_two_ways_to_one_database_are_one_check():
    room = Room(target("shop"), target("shop"), target("other"))
    room.at(0)
    room.at(30)
    room.told(2)
    assert [each.probe.asked for each in room.targets] == [1, 0, 1]


def test_a_check_that_hangs_holds_up_no_other_and_gets_no_second():
    hangs, other = target("hangs"), target("other")
    hangs.probe.go.clear()
    room = Room(hangs, other)
    room.at(0)
    room.at(15)
    wait_until(lambda: room.at(15) and len(room.events) == 2)
    by_name = {event.database.namespace: event for event in room.events}
    assert by_name["other"].is_healthy
    assert by_name["hangs"].details["error.type"] == "timeout"
    assert room.checks.left_behind == 1
    room.at(45)
    wait_until(lambda: room.at(45) and len(room.events) == 4)
    last = [e for e in room.events if e.database.namespace == "hangs"][-1]
    assert (last.details["error.type"], last.details["failed_checks"]) == ("timeout", 2)
    wait_until(lambda: hangs.probe.asked > 0)
    assert (hangs.probe.asked, other.probe.asked) == (1, 2)
    hangs.probe.go.set()
    wait_until(lambda: room.checks.left_behind == 0)
    room.at(75)
    wait_until(lambda: hangs.probe.asked == 2)


def test_who_asks_while_a_check_is_under_way_gets_that_one():
    slow, checks = target(), Checks()
    slow.probe.go.clear()
    first = checks.begin(slow)
    assert checks.begin(slow) is first
    slow.probe.go.set()
    first.round.wait()
    assert slow.probe.asked == 1
    wait_until(lambda: checks.begin(slow) is not first)


def test_other_instrumentations_are_silent_in_a_check():
    class Listening(Probe):
        def ask(self, stages):
            self.silent = suppressed(get_current())
            super().ask(stages)

    asked, checks = target()._replace(probe=Listening()), Checks()
    checks.begin(asked).round.wait()
    assert asked.probe.silent


def test_a_database_that_is_gone_is_asked_no_more():
    room = Room(target())
    room.at(0)
    gone = room.targets.pop()
    room.at(30)
    assert gone.probe.asked == 0
    assert room.schedule._due == {}


def test_it_waits_until_the_next_is_due():
    room = Room(target(), interval_s=2)
    assert room.at(0) == 1.0
    assert room.at(0.75) == pytest.approx(0.25)


@pytest.mark.swallows
def test_an_error_of_ours_ends_nothing(caplog):
    def broken():
        raise LookupError("ours")

    schedule = Schedule(Checks(), broken, 30)
    assert schedule._turn() == 5
    assert "LookupError" in caplog.text


def test_one_thread_does_it_and_ends_with_it():
    checks = Checks()
    schedule = Schedule(checks, list, 30)
    assert not _threads()
    schedule.awake()
    schedule.awake()
    assert len(_threads()) == 1
    schedule.close()
    wait_until(lambda: not _threads())
    schedule.awake()
    assert not _threads()


def test_none_begins_where_the_process_ends(monkeypatch):
    schedule = Schedule(Checks(), list, 30)
    monkeypatch.setattr(ending, "_began", 0.0)
    schedule.awake()
    assert not _threads()
    monkeypatch.undo()
    schedule.awake()
    assert _threads()
    schedule.close()


def test_the_thread_does_not_keep_the_schedule():
    schedule = Schedule(Checks(), list, 0.02)
    schedule.awake()
    there = weakref.ref(schedule)
    del schedule
    wait_until(lambda: gc.collect() >= 0 and there() is None)
    wait_until(lambda: not _threads())


def _threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]

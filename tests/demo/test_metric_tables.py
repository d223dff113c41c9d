"""Metrics become tables: calls of one kind are one line, and what has no table is shown still."""

import pytest
from rich.console import Console

from otel_dbevents.demo.metric_tables import MOST_QUERIES, metric_tables
from otel_dbevents.demo.metrics import Point

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

DURATION = "db.client.operation.duration"


def shown(*points: Point) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        for table in metric_tables(points):
            console.print(table)
    return capture.get()


def call(summary: str, seconds: float, **more: str) -> Point:
    return Point(DURATION, "s", {"db.query.summary": summary, **more}, seconds, 1, seconds, seconds)


def test_calls_that_differ_in_other_attributes_only_are_one_line():
    text = shown(call("SELECT orders", 0.002), call("SELECT orders", 0.004, collection="orders"))
    (line,) = [line for line in text.splitlines() if "SELECT orders" in line]
    assert line.split()[2:] == ["2", "\N{MIDDLE DOT}", "3.00", "4.00", "6.00"]


def test_failed_calls_come_first():
    failed = Point(DURATION, "s", {"db.query.summary": "INSERT a", "error.type": "E"}, 0.1, 1)
    lines = shown(call("SELECT b", 9.0), failed).splitlines()
    assert "INSERT a  E" in lines[1]
    assert "SELECT b" in lines[2]


def test_the_shortest_of_many_calls_are_added_up():
    calls = [call(f"SELECT t{number}", 1.0 + number) for number in range(MOST_QUERIES + 3)]
    text = shown(*calls)
    assert "and 3 more that took less" in text
    assert "SELECT t0" not in text


def test_a_metric_without_a_table_of_its_own_is_shown():
    health = Point("database.health.latency", "s", {"db.namespace": "shop"}, 0.5, 2, 0.2, 0.3)
    lost = Point("dbevents.lost", "{event}", {"reason": "queue_full"}, 3)
    text = shown(health, lost)
    assert "database.health.latency  shop" in text
    assert "2 \N{MULTIPLICATION SIGN} 0.25 s" in text
    assert "dbevents.lost  queue_full" in text

"""The window says how the queries of the last minutes fared, of few exactly and of many nearly."""

import random
import statistics

import pytest

from otel_dbevents.drafts import Alike, Mixed
from otel_dbevents.events import Database, DatabaseType, Environment, QueryExecuted, Statement
from otel_dbevents.health.window import LEAST, PER_SLOT, PER_WINDOW, SLOTS, Windows
from otel_dbevents.sources.drafts import CheckedInDraft, QueryDraft
from tests.bridge.support import failed as query_failed

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

DB = Database(Environment.LOCAL, DatabaseType.POSTGRESQL, "shop", "db", 5432)
OTHER = Database(Environment.LOCAL, DatabaseType.POSTGRESQL, "other", "db", 5432)


class Clock:
    now = 1_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def windows(clock):
    return Windows(300, clock=clock)


def exact(values, share):
    return sorted(values)[max(0, -(-int(share * 100) * len(values) // 100) - 1)]


def test_of_few_queries_there_is_no_share_and_no_percentile(windows):
    windows.take(DB, [100_000_000] * (LEAST - 1), 3)
    reading = windows.read(DB.aggregate_id)
    assert (reading.queries, reading.errors) == (LEAST - 1, 3)
    assert (reading.p95_s, reading.error_rate) == (None, None)
    assert windows.standings() == [(DB, None)]
    windows.take(DB, [100_000_000])
    reading = windows.read(DB.aggregate_id)
    assert reading.error_rate == 3 / LEAST
    assert reading.p95_s == 0.1


@pytest.mark.parametrize("number", [20, 100, PER_SLOT])
def test_of_what_is_kept_whole_the_percentiles_are_exact(windows, number):
    values = [int(random.Random(number).lognormvariate(17, 1)) for _ in range(number)]
    windows.take(DB, values)
    reading = windows.read(DB.aggregate_id)
    for share, told in ((0.5, reading.p50_s), (0.95, reading.p95_s), (0.99, reading.p99_s)):
        assert told == exact(values, share) / 1e9


def test_of_many_queries_all_are_counted_and_a_fair_share_is_kept(windows, clock):
    chance, values = random.Random(7), []
    for _ in range(SLOTS):
        for _ in range(20):  # two statements in turn, one ten times as slow
            for mean in (15.7, 18.0):
                durations = [int(chance.lognormvariate(mean, 0.3)) for _ in range(10)]
                windows.take(DB, durations)
                values += durations
        clock.now += 10
    clock.now -= 10
    reading = windows.read(DB.aggregate_id)
    assert reading.queries == len(values) == 12_000
    ranks = sorted(values)
    for share, told in ((0.5, reading.p50_s), (0.95, reading.p95_s)):
        rank = sum(value / 1e9 <= told for value in ranks) / len(ranks)
        assert rank == pytest.approx(share, abs=0.02)
    assert sum(len(slot.kept) for slot in windows._windows[DB.aggregate_id].slots) <= PER_WINDOW


def test_what_is_kept_is_bounded_whatever_comes(windows, clock):
    for number in range(2_000):
        windows.take(DB, [100_000_000] * (number % 97))
        if number % 50 == 0:
            clock.now += 10
        assert sum(len(s.kept) for s in windows._windows[DB.aggregate_id].slots) <= PER_WINDOW


def test_what_came_first_is_kept_no_more_than_what_came_later(windows):
    windows.take(DB, [1_000_000] * 2_000)
    windows.take(DB, [1_000_000_000] * 2_000)
    assert windows.read(DB.aggregate_id).p95_s == 1.0
    kept = windows._windows[DB.aggregate_id].slots[0].kept
    assert kept.count(1_000_000_000) / len(kept) == pytest.approx(0.5, abs=0.1)


def test_a_burst_weighs_as_much_as_it_was(windows, clock):
    windows.take(DB, [1_000_000] * 100_000)
    clock.now += 20
    windows.take(DB, [1_000_000_000] * 200)
    reading = windows.read(DB.aggregate_id)
    assert reading.queries == 100_200
    assert reading.p99_s == 0.001


def test_what_is_older_than_the_window_is_forgotten(windows, clock):
    windows.take(DB, [500_000_000] * 30, 30)
    clock.now += 150
    windows.take(DB, [100_000_000] * 30)
    assert windows.read(DB.aggregate_id).queries == 60
    clock.now += 155
    assert windows.read(DB.aggregate_id).queries == 30
    assert windows.read(DB.aggregate_id).errors == 0
    clock.now += 300
    assert windows.read(DB.aggregate_id) is None
    assert windows.standings() == []


def test_databases_are_kept_apart_and_equal_ones_together(windows):
    again = Database(Environment.LOCAL, DatabaseType.POSTGRESQL, "shop", "db", 5432)
    windows.take(DB, [100_000_000] * 20)
    windows.take(again, [100_000_000] * 20)
    windows.take(OTHER, [200_000_000] * 20)
    assert windows.read(DB.aggregate_id).queries == 40
    assert windows.read(OTHER.aggregate_id).p95_s == 0.2


def test_a_bounded_number_of_databases_is_known(windows):
    for number in range(150):
        database = Database(Environment.LOCAL, DatabaseType.SQLITE, f"tenant{number}")
        windows.take(database, [100_000_000])
    assert len(windows.standings()) == 100
    assert windows.read("local/sqlite/tenant149") is not None
    assert windows.read("local/sqlite/tenant1") is None


def test_events_are_taken_where_nobody_put_their_numbers_together(windows):
    query = QueryExecuted(DB, None, 10**18, 2_000_000, Statement("SELECT 1"))
    windows.take_events([(query, None)] * 30)
    reading = windows.read(DB.aggregate_id)
    assert (reading.queries, reading.errors, reading.p95_s) == (30, 0, 0.002)
    assert statistics.fmean([reading.p50_s, reading.p99_s]) == 0.002
    windows.take_events([(query_failed(database=DB), None)])
    assert windows.read(DB.aggregate_id).errors == 1
    assert windows.read(DB.aggregate_id).queries == 31


@pytest.mark.parametrize("batch", [Alike, Mixed])
def test_what_was_only_noted_of_queries_counts_for_its_database(windows, batch):
    statement = Statement("SELECT 1", "SELECT")
    noted = [QueryDraft({}, DB, statement, 9, n * 1_000_000) for n in range(1, 101)]
    noted += [QueryDraft({}, OTHER, statement, 9, 5_000_000) for _ in range(150)]
    if batch is Mixed:
        noted.insert(50, CheckedInDraft({}, DB, 9, 7_000_000_000))
        event = QueryExecuted(OTHER, None, 9, 5_000_000, statement)
        noted.insert(9, (event, None))
    windows.take_events(batch(noted))
    one, other = (windows.read(each.aggregate_id) for each in (DB, OTHER))
    assert (one.queries, other.queries) == (100, 150 + (batch is Mixed))
    assert (one.p50_s, one.p95_s, other.p99_s) == (0.05, 0.095, 0.005)

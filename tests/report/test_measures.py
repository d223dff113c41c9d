"""Medians, percentiles and covered time, against slower and plainer ways to have them."""

import statistics
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_dbevents.report.measures import covered, median, merged, percentile

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

NUMBERS = st.lists(st.integers(0, 10**12), min_size=1, max_size=60)
INTERVALS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), max_size=20)


@given(NUMBERS)
def test_the_median_is_the_middle(numbers):
    assert median(numbers) == pytest.approx(statistics.median(numbers))


@given(NUMBERS, st.integers(1, 100))
def test_a_percentile_is_the_smallest_that_so_many_do_not_exceed(numbers, percent):
    found = percentile(numbers, percent)
    enough = percent * len(numbers) / 100
    assert found == min(n for n in numbers if sum(each <= n for each in numbers) >= enough)


def test_of_nothing_there_is_no_number():
    assert median([]) is None
    assert percentile([], 95) is None
    assert covered([]) == 0


@given(INTERVALS)
def test_time_that_several_cover_counts_once(intervals):
    moments = {moment for start, end in intervals for moment in range(start, end)}
    assert covered(intervals) == len(moments)


@given(INTERVALS, st.tuples(st.integers(0, 120), st.integers(0, 120)))
def test_time_outside_does_not_count(intervals, within):
    moments = {moment for start, end in intervals for moment in range(start, end)}
    assert covered(intervals, within) == len(moments & set(range(*within)))


@given(INTERVALS)
def test_what_is_merged_is_in_order_and_apart(intervals):
    found = merged(intervals)
    assert all(one[1] < two[0] for one, two in pairwise(found))
    assert merged(found) == found

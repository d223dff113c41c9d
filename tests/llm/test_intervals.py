"""The union of intervals."""

from hypothesis import given
from hypothesis import strategies as st

from otel_dbevents.llm.intervals import Intervals

SPANS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40)), max_size=60)


@given(SPANS)
def test_it_is_as_long_as_the_moments_that_any_of_them_covers(spans: list[tuple[int, int]]) -> None:
    found = Intervals()
    for start, length in spans:
        found.add(start, start + length)
    moments = {at for start, length in spans for at in range(start, start + length)}
    assert found.total_ns == len(moments)


def test_its_memory_is_bounded_and_it_is_never_too_long() -> None:
    found = Intervals()
    for number in range(10_000):
        found.add(number * 10, number * 10 + 5)
    assert found.total_ns == 50_000
    assert len(found._starts) <= 512
    found.add(0, 100_000)
    assert 50_000 <= found.total_ns <= 100_000

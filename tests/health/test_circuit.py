"""The circuit: when a database that failed is asked again, and when no more."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from otel_dbevents.health.circuit import Circuit, State

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

FIRST_S, MOST_S, TRIES = 1.0, 8.0, 5


def circuit(share: float = 1.0, tries: int = TRIES) -> Circuit:
    """Return a circuit that always waits this share of the longest time."""
    return Circuit(first_s=FIRST_S, most_s=MOST_S, tries=tries, random=lambda: share)


def waits(made: Circuit) -> list[float]:
    """Let every try fail, and return how long it was waited before each."""
    now, found = 0.0, []
    made.failed(now)
    while made.due is not None:
        found.append(made.due - now)
        now = made.due
        assert made.begin(now)
        made.ended(now, answered=False)
    return found


def test_it_is_waited_twice_as_long_each_time_up_to_the_most() -> None:
    assert waits(circuit()) == [1, 2, 4, 8, 8]


def test_the_wait_is_any_part_of_the_longest() -> None:
    assert waits(circuit(share=0.25)) == [0.25, 0.5, 1, 2, 2]
    assert waits(circuit(share=0.0)) == [0] * TRIES


def test_a_thousand_tries_do_not_make_the_wait_longer_than_the_most() -> None:
    assert max(waits(circuit(tries=2_000))) == MOST_S


def test_nothing_is_due_while_it_is_closed() -> None:
    made = circuit()
    assert made.state is State.CLOSED
    assert made.due is None
    assert not made.begin(1e9)


def test_a_second_failure_does_not_put_off_the_try() -> None:
    made = circuit()
    assert made.failed(0)
    due = made.due
    assert not made.failed(0.9)
    assert made.due == due


def test_after_the_last_try_it_is_given_up_and_only_a_success_ends_that() -> None:
    made = circuit(tries=1)
    made.failed(0)
    assert made.begin(5)
    assert made.ended(5, answered=False)
    assert made.state is State.GIVEN_UP
    assert not made.failed(6)
    assert made.due is None
    assert made.succeeded()
    assert made.failed(7)
    assert (made.state, made.asked) == (State.OPEN, 0)


@pytest.mark.parametrize("answered", [True, False])
def test_a_try_that_a_success_overtook_says_nothing(answered: bool) -> None:
    made = circuit()
    made.failed(0)
    made.begin(1)
    assert made.succeeded()
    assert not made.ended(2, answered=answered)
    assert (made.state, made.due) == (State.CLOSED, None)


class AnyLife(RuleBasedStateMachine):
    """A circuit, an application and a database that do what they like, against the promises."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.share = 0.5
        self.made = Circuit(first_s=FIRST_S, most_s=MOST_S, tries=TRIES, random=lambda: self.share)
        self.asked_since_closed = 0
        self.is_down = False
        """What the last that was heard says."""

    @rule(seconds=st.floats(0, 20), share=st.floats(0, 1))
    def time_passes(self, seconds: float, share: float) -> None:
        self.now, self.share = self.now + seconds, share

    @rule()
    def the_application_fails(self) -> None:
        before = self.made.state
        opened = self.made.failed(self.now)
        assert opened == (before is State.CLOSED)
        if opened:
            assert self.made.due is not None
            assert self.now <= self.made.due <= self.now + FIRST_S
        self.is_down = True

    @rule()
    def the_application_succeeds(self) -> None:
        assert self.made.succeeded() == self.is_down
        self.is_down, self.asked_since_closed = False, 0

    @rule()
    def it_is_looked_whether_a_try_is_due(self) -> None:
        due, before = self.made.due, self.made.state
        begun = self.made.begin(self.now)
        assert begun == (due is not None and self.now >= due)
        if begun:
            assert before is State.OPEN
            self.asked_since_closed += 1

    @precondition(lambda self: self.made.state is State.HALF_OPEN)
    @rule(answered=st.booleans())
    def the_try_ends(self, answered: bool) -> None:
        tells = self.made.ended(self.now, answered=answered)
        if answered:
            assert tells
            self.is_down, self.asked_since_closed = False, 0
        else:
            assert tells == (self.asked_since_closed == TRIES)
            if not tells:
                assert self.made.due is not None
                assert self.made.due <= self.now + MOST_S

    @precondition(lambda self: self.made.state is not State.HALF_OPEN)
    @rule(answered=st.booleans())
    def a_try_that_was_overtaken_ends(self, answered: bool) -> None:
        before = self.made.state, self.made.due
        assert not self.made.ended(self.now, answered=answered)
        assert (self.made.state, self.made.due) == before

    @invariant()
    def it_is_closed_exactly_when_the_last_that_was_heard_was_good(self) -> None:
        assert (self.made.state is State.CLOSED) == (not self.is_down)

    @invariant()
    def a_try_is_to_come_exactly_while_it_is_open(self) -> None:
        assert (self.made.due is not None) == (self.made.state is State.OPEN)

    @invariant()
    def it_is_never_asked_more_often_than_allowed(self) -> None:
        assert self.asked_since_closed <= TRIES


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

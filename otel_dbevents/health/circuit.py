"""Whether a database is there, and when it is asked again: a circuit, with nothing around it.

    closed --failed--> open --begin--> half-open --answered--> closed
                        ^                  |
                        +---not answered---+---the last try---> given up

From every state but closed a success of the application's own leads back to closed.
"""

from collections.abc import Callable
from enum import StrEnum
from random import SystemRandom
from typing import Final

_JITTER: Final = SystemRandom()
"""Not the application's generator, which may be seeded alike in a hundred processes."""


class State(StrEnum):
    """What is known of a database."""

    CLOSED = "closed"
    """It was there when it was last asked."""
    OPEN = "open"
    """It was not, and will be asked again."""
    HALF_OPEN = "half_open"
    """It is being asked."""
    GIVEN_UP = "given_up"
    """It was asked as often as it may be. Only a success of the application's ends that."""


class Circuit:
    """When to ask a database that failed. Times are seconds of whatever clock the caller has.

    Before the first try and between any two passes a random time: up to ``first_s``, and up to
    twice as much each time, ``most_s`` at the most (exponential backoff with full jitter, so that
    a hundred processes do not ask a database that has just come back all at once). Not
    thread-safe: whoever has it has a lock.

    Args:
        first_s: the longest wait before the first try.
        most_s: the longest wait before any.
        tries: how often it is asked before it is given up; 1 or more.
        random: returns a number from 0 to 1.

    """

    __slots__ = ("_first_s", "_most_s", "_random", "_tries", "asked", "due", "state")

    def __init__(
        self,
        *,
        first_s: float,
        most_s: float,
        tries: int,
        random: Callable[[], float] = _JITTER.random,
    ) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._tries = tries
        self._random = random
        self.state = State.CLOSED
        self.asked = 0
        """How many tries there were since it was closed."""
        self.due: float | None = None
        """When the next try is; None: none is to come."""

    def failed(self, now: float) -> bool:
        """Note a failure of the application's own. True: it is the one that opens the circuit."""
        if self.state is not State.CLOSED:
            return False
        self.asked = 0
        self._wait(now)
        return True

    def succeeded(self) -> bool:
        """Note a success of the application's own. True: it closes the circuit."""
        was_closed = self.state is State.CLOSED
        self.state, self.due = State.CLOSED, None
        return not was_closed

    def begin(self, now: float) -> bool:
        """Begin a try if one is due. True: the database is to be asked now, and `ended` called."""
        if self.due is None or now < self.due:
            return False
        self.state, self.due = State.HALF_OPEN, None
        self.asked += 1
        return True

    def ended(self, now: float, *, answered: bool) -> bool:
        """Note how the try ended. True: that changed what is known of the database.

        A try that something else has overtaken meanwhile says nothing.
        """
        if self.state is not State.HALF_OPEN:
            return False
        if answered:
            self.state = State.CLOSED
            return True
        if self.asked >= self._tries:
            self.state = State.GIVEN_UP
            return True
        self._wait(now)
        return False

    def _wait(self, now: float) -> None:
        longest = min(self._most_s, self._first_s * 2.0 ** min(self.asked, 60))
        self.state, self.due = State.OPEN, now + self._random() * longest

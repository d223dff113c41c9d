"""The one small model that every source is read into, and all that the analysis knows.

Times are nanoseconds since 1970, durations nanoseconds. None = the data do not say.
"""

from typing import Any, TypeAlias

from msgspec import Struct

Interval: TypeAlias = tuple[int, int]
"""Start and end."""


class Span(Struct, gc=False):
    """One span or observation, reduced to what a report reads (`keys.READ`)."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    parent_id: str
    """Empty: it has none."""
    name: str
    scope: str
    start_ns: int
    end_ns: int
    failed: bool
    attributes: dict[str, Any]

    @property
    def duration_ns(self) -> int:
        """How long it took; 0 where its clock went backwards."""
        return max(0, self.end_ns - self.start_ns)


class Prompt(Struct, frozen=True, order=True):
    """What turns are told apart by: a prompt's name and version, and the model it was given to.

    Each is empty where the generation does not say.
    """

    name: str = ""
    version: str = ""
    model: str = ""

    @property
    def label(self) -> str:
        """Name and version, for people."""
        name = self.name or "(no prompt name)"
        return f"{name} v{self.version}" if self.version else name


class Query(Struct, frozen=True):
    """What one statement did in one turn."""

    text: str
    """Without literals; its summary where the source does not hold the text."""
    slowest_ns: int
    count: int | None = None
    """None: only known as the slowest of its turn."""
    time_ns: int | None = None


class Repetition(Struct, frozen=True):
    """One statement that ran again and again within a turn (N+1)."""

    text: str
    count: int
    place: str = ""
    """File and line of the application, where they are known."""


class Work(Struct, frozen=True):
    """Database work. ``busy_ns`` is the time in which there was any; ``time_ns`` adds all up."""

    busy_ns: int
    time_ns: int
    query_count: int
    error_count: int = 0


class Part(Struct, frozen=True):
    """One prompt's part of a turn."""

    prompt: Prompt
    model_ns: int
    """In which any of its generations ran."""
    work: Work | None
    """What its generations caused; None: the data do not say which of the turn's prompts did."""
    queries: tuple[Query, ...] = ()
    repetitions: tuple[Repetition, ...] = ()


class Turn(Struct, frozen=True):
    """One outermost LLM span of a trace, with all that happened in it."""

    trace_id: str
    start_ns: int
    duration_ns: int
    model_ns: int
    """In which any generation ran."""
    work: Work | None
    """None: neither a roll-up nor database spans are there."""
    parts: tuple[Part, ...]
    """By prompt; one without a name where no generation has any."""
    queries: tuple[Query, ...] = ()
    repetitions: tuple[Repetition, ...] = ()
    share: float | None = None
    """Of the turn's time, as it was told; None: to be had from ``work`` and ``duration_ns``."""
    rolled_up: bool = False
    """Whether there was a roll-up, which counts everything."""
    complete: bool = True
    """Whether ``queries`` are all there were. Not in a roll-up, nor where spans were left out."""

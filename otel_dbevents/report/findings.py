"""What a report says: plain values, made by `analysis`, shown by `table`, `page` and `document`.

Times are milliseconds, shares 0 to 1, moments nanoseconds since 1970. None = the data do not say.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from otel_dbevents.report.model import Prompt

PartName: TypeAlias = Literal["model", "database", "rest"]
"""Where time went: the rest is what neither a model nor the database was at work in."""

RULES = {
    "turn": "A turn is the outermost LLM span of a trace.",
    "model": "Model time is the time in which at least one generation ran.",
    "database": "Database time is the time in which at least one piece of database work ran.",
    "rest": "The rest of a turn is your code, other services, and, where it has "
    "several prompts, what the others did.",
    "median": "The median is the middle turn's; P95 is what 95 % of the turns do not exceed.",
    "typical": "Typically: the largest of the three medians, as a share of their sum.",
    "slow": "When slow: what most of the time of the slowest 5 % of the turns went to.",
    "change": "A change: the medians differ by half and by 5 ms, with 5 turns on each side.",
    "shift": "A shift within one version: the medians before and after differ twofold and by 5 ms, "
    "and 4 of 5 turns before and after lie on their side of the middle between them.",
}
"""How each number is had, in one sentence each."""


class Spread(Struct, frozen=True):
    """A number over many turns."""

    median: float
    p95: float


class Verdict(Struct, frozen=True):
    """Where most of the time went, and how much of it."""

    part: PartName
    share: float


class TopQuery(Struct, frozen=True):
    """A statement, over many turns."""

    text: str
    turns: int
    """In how many it was seen."""
    slowest_ms: float
    count: int | None
    """How often it ran; None: only known as the slowest of its turns."""
    time_ms: float | None


class Repeated(Struct, frozen=True):
    """A statement that ran again and again within turns (N+1)."""

    text: str
    place: str
    turns: int
    most: int
    """How often within one turn, at most."""


class Group(Struct, frozen=True):
    """All turns of one prompt's version with one model, or all turns at all."""

    prompt: Prompt | None
    """None: all turns."""
    first_ns: int
    last_ns: int
    turns: int
    known: int
    """Of so many the database's numbers are there; all of the database is of these."""
    duration: Spread
    model: Spread
    database: Spread | None
    rest: Spread | None
    share: Spread | None
    queries: Spread | None
    failures: int
    failed_turns: int
    typical: Verdict | None
    slow: Verdict | None
    top_queries: tuple[TopQuery, ...]
    incomplete: int
    """In so many turns not every statement is known: queries ran at least as often as is said."""
    repeated: tuple[Repeated, ...]
    sampled: bool
    """Whether medians and P95 are of a sample, as there were more turns than are kept."""


class Change(Struct, frozen=True):
    """From when on a prompt's turns were slower, or faster, in the database: medians."""

    kind: Literal["version", "shift"]
    """Whether a new version (or model) came, or the same one's turns became other ones."""
    before: Prompt
    after: Prompt
    since_ns: int
    before_ms: float
    after_ms: float

    @property
    def slower(self) -> bool:
        """Whether it became worse."""
        return self.after_ms > self.before_ms


class Report(Struct, frozen=True):
    """Everything that was found."""

    source: str
    spans: int
    late: int
    """Spans that came too late for their trace, and were left out."""
    seen: int
    """All turns, those that did not count among them."""
    names: tuple[str, ...]
    """The prompts' names that were met, some of them where there are many."""
    rolled_up: int
    """Turns with a roll-up."""
    total: Group | None
    """None: there was no turn."""
    groups: tuple[Group, ...]
    changes: tuple[Change, ...]
    unplaced: int
    """Turns with several prompts of which it is not known which one caused the database work."""
    not_told: int
    """Groups that are not told apart, as there are too many: only in the total."""

"""State: what a sidecar's work says of itself, for whoever asks from another thread."""

from collections import Counter

import msgspec


class State(msgspec.Struct):
    """How it goes, for whoever asks from another thread."""

    redis: str = "not connected yet"
    """What is wrong with Redis; empty: nothing."""
    collector: str = ""
    """What is wrong with the collector; empty: nothing, by its last answer."""
    beat: float = 0.0
    """When the work was last seen going on, by the monotonic clock."""
    spans: int = 0
    records: int = 0
    retries: int = 0
    """How often the collector did not take something."""
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    """What the collector refused for good, by signal: spans, log records, of metrics sets and
    points."""
    redis_since: float = 0.0
    """Since when Redis is not there, by the monotonic clock; 0: it is."""
    collector_since: float = 0.0
    """Since when the collector takes nothing; 0: it does."""
    pause_s: float = 0.0
    """The last pause that an exporter took, where the collector asked for one: Retry-After."""
    held_entries: int = 0
    """Entries that are in hand, until the collector has taken what was made of them."""
    waiting_entries: int = 0
    waiting_s: float = 0.0
    is_ending: bool = False
    """Whether it is to end, and sends what it has in hand first."""

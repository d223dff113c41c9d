"""Nodes: the spans of LLM work that are open, each with the one above it and what it caused."""

import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from msgspec.structs import replace

from otel_dbevents.events import Event, LlmContext
from otel_dbevents.living import make_room
from otel_dbevents.llm import kinds
from otel_dbevents.llm.rollup import Caused, RollUp, Totals, Work, work_of

_MOST_GENERATIONS: Final = 1_000
_MOST_PENDING: Final = 20_000
_MOST_TOLD: Final = 10_000
_LONGEST_S: Final = 0.2

Told: TypeAlias = tuple[LlmContext, LlmContext]
"""What is told of a generation without its prompt, and with it."""
NOTHING: Final = RollUp()


class Tree:
    """What the nodes below one topmost span share."""

    __slots__ = (
        "is_dirty",
        "lock",
        "pending",
        "public_keys",
        "told",
        "touched",
        "version",
        "writing",
    )

    def __init__(self) -> None:
        self.pending: deque[tuple[Node, Event]] = deque(maxlen=_MOST_PENDING)
        """What happened, and below which node, until somebody adds it up."""
        self.touched: dict[Node, None] = {}
        """The nodes whose numbers have changed since they were last written."""
        self.is_dirty = False
        """Whether it waits to be settled."""
        self.version = object()
        """Another one when a generation ends: the cause of what follows may be another."""
        self.public_keys: dict[bytes, str] = {}
        """Whose the generations are that have ended, where Langfuse's client made them."""
        self.told: dict[bytes, Caused] = {}
        """What was told of generations at the end of earlier turns below the same span."""
        # Two locks, neither of which is asked for by a finalizer: the numbers', and the one that
        # is held where a span is written on. Both may be taken again by their holder.
        self.lock = threading.RLock()
        self.writing = threading.RLock()

    def newly_caused(self, found: RollUp) -> RollUp:
        """Return a turn's roll-up with those generations only of which there is more to tell."""
        caused = {
            generation: each._replace(public_key=self.public_keys.get(generation))
            for generation, each in found.by_generation.items()
            if self.told.get(generation) != each
        }
        if len(self.told) > _MOST_TOLD:  # the span above is one that does not end
            self.told.clear()
        self.told |= {generation: found.by_generation[generation] for generation in caused}
        return replace(found, by_generation=caused)

    def drain(self) -> None:
        """Add up what is pending, to each node that it happened below and that is open.

        With the numbers' lock held.
        """
        pending, touched = self.pending, self.touched
        while pending:
            below, event = pending.popleft()
            work = work_of(event)
            node: Node | None = below if work is not None else None
            while node is not None:
                if work is not None and not node.is_over:
                    node.add(work)
                    touched[node] = None
                node = node.above

    def relieve(self) -> None:
        """Add up what is pending, unless somebody is at it already. Waits for nobody."""
        if self.lock.acquire(blocking=False):
            try:
                self.drain()
            finally:
                self.lock.release()


class SpanReference(weakref.ref[Any]):
    """A span that is not kept alive, and its id."""

    __slots__ = ("span_id",)
    span_id: int


class Node:
    """A span within LLM work. It does not keep the span alive; the span does so with it."""

    __slots__ = (
        "_told",
        "_totals",
        "above",
        "before",
        "below",
        "era",
        "is_over",
        "span",
        "span_id",
        "trace_id",
        "tree",
    )

    def __init__(
        self,
        span: Any,
        above: "Node | None",
        era: object,
        gone: "Callable[[SpanReference], None] | None" = None,
    ) -> None:
        context = span.get_span_context()
        self.trace_id: int = context.trace_id
        self.span_id: int = context.span_id
        self.span = SpanReference(span, gone)
        self.span.span_id = self.span_id
        self.above = above
        self.tree: Tree = Tree() if above is None else above.tree
        self.era = era
        """Tells the nodes of this process from those of the one that it was forked from."""
        self.before: Told | None = None if above is None else above.below
        """The latest generation that had ended right below the node above when this began."""
        self.below: Told | None = None
        """The latest generation that has ended below this."""
        self._totals: Totals | None = None
        self.is_over = False
        self._told: Told | None = None

    @property
    def is_llm(self) -> bool:
        """Whether its span is an LLM span, as far as it says by now."""
        span = self.span()
        return span is not None and kinds.is_llm(span)

    def add(self, work: Work) -> None:
        """Add what was done below."""
        if self._totals is None:
            self._totals = Totals()
        self._totals.add(work)

    def roll_up(self, repeated: int) -> RollUp:
        """Return what was done below; from ``repeated`` runs on a statement is a repeated one."""
        return NOTHING if self._totals is None else self._totals.roll_up(repeated)

    def path(self) -> Iterator["Node"]:
        """Give this node and all above it, the nearest first."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.above

    def cause(self) -> Told | None:
        """Return the generation that caused what happens here now.

        That is the nearest on the way up: one that ended below, else the span itself where it is
        a generation; at a span further up only one that had ended before this branch began, as
        what runs beside it is not to be blamed.
        """
        found = self.below
        for node in self.path():
            found = found or node.as_generation() or node.before
            if found is not None:
                return found
        return None

    def environment(self) -> str:
        """Return what Langfuse files this under: what the nearest span says that says it."""
        spans = (node.span() for node in self.path())
        said = (kinds.environment_of(span) for span in spans if span is not None)
        return next(filter(None, said), "")

    def as_generation(self) -> Told | None:
        """Return what is told of it as a generation; None where it is none, or not yet."""
        span = self.span()
        if span is not None and not (self.is_over and self._told) and kinds.is_generation(span):
            span_id = self.span_id.to_bytes(8)
            told = (
                kinds.told_of(span, span_id, prompt=False),
                kinds.told_of(span, span_id, prompt=True),
            )
            if told != self._told:
                self._told = told
        return self._told

    def over(self) -> None:
        """Take note that its span ends; what it caused is from now on known above it."""
        told = self.as_generation()
        self.is_over = True
        self._totals = None
        if told is None:
            return
        self._keep_public_key()
        above = self.above
        while above is not None:
            above.below, above = told, above.above
        self.tree.version = object()

    def _keep_public_key(self) -> None:
        key = kinds.public_key_of(self.span())
        if key is not None:
            known = self.tree.public_keys
            known[self.span_id.to_bytes(8)] = key
            make_room(known, _MOST_GENERATIONS + 1)


class Held:
    """Holds a lock. Raises `TimeoutError` rather than to wait for long in somebody's call."""

    __slots__ = ("_lock",)

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=_LONGEST_S):
            raise TimeoutError

    def __exit__(self, *_: object) -> None:
        self._lock.release()

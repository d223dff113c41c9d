"""Registry: the nodes of the spans that are open, found by the span or by its id.

A span keeps its own node, so that what still runs in the context of one that has ended is known to
belong to those above. By its id an open span is found where only that is known of it.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from otel_dbevents.living import make_room
from otel_dbevents.llm.ending import Ending, Watcher
from otel_dbevents.llm.kinds import is_llm
from otel_dbevents.llm.nodes import Node, SpanReference


class Registry:
    """The open spans of LLM work, and those that LLM spans were started right below of.

    Args:
        known: the nodes that are open, by their spans' ids; who else looks at it changes nothing.
        key: the name of the attribute in which a span keeps its node.
        most: so many are known at once; of more the oldest are forgotten. They are spans that never
            end.
        watcher: is told when one of them ends.
        follow: takes what passes a span on to its processors, where it was not seen to start.
        hosted: is called when LLM work begins in a span that was not known to have any.

    """

    def __init__(
        self,
        known: dict[int, Node],
        key: str,
        most: int,
        watcher: Watcher,
        follow: Callable[[Any], None],
        hosted: Callable[[], None],
    ) -> None:
        self._key = key
        self._most = most
        self._watcher = watcher
        self._follow = follow
        self._hosted = hosted
        self._open = known
        self._era = object()
        self.forgotten = 0
        """How many were forgotten, as there were too many."""

    def __len__(self) -> int:
        """How many are open."""
        return len(self._open)

    def started(self, span: Any, current: Any) -> None:
        """Take note of a span that starts below the current one, if it is one of LLM work."""
        above = None if span.parent is None else self.find(current, span.parent)
        if above is not None:
            self._take(span, above)
        elif is_llm(span):
            self._take(span, None if span.parent is None else self._host(current))

    def find(self, span: Any, identity: Any = None) -> Node | None:
        """Return the node of a context's span, or of the one of this ``identity``; None without.

        It is made now for an LLM span that was not seen: it was started without us, or has become
        one later.
        """
        if identity is not None and span.get_span_context().span_id != identity.span_id:
            return self._by_id(identity)  # the context is that of a processor's own thread
        node = self.of(span)
        if node is None and self._open:
            node = self._by_id(span.get_span_context())
        if node is None and hasattr(span, "__dict__") and span.is_recording() and is_llm(span):
            self._follow(getattr(span, "_span_processor", None))
            parent = getattr(span, "parent", None)
            node = self._take(span, None if parent is None else self._by_id(parent))
        return node

    def of(self, span: Any) -> Node | None:
        """Return the node that a span keeps; made anew where it is that of a forked process."""
        node: Node | None = getattr(span, "__dict__", {}).get(self._key)
        return node if node is None or node.era is self._era else self._renewed(node)

    def close(self, span_id: int) -> Node | None:
        """Take out a span that has ended; return its node, None where it was out already."""
        return self._open.pop(span_id, None)

    def clear(self) -> None:
        """Forget all of them."""
        self._open.clear()

    def _take(self, span: Any, above: Node | None) -> Node:
        """Make a span's node, and see to it that its end is seen."""
        node = Node(span, above, self._era, self._gone)
        held = span.__dict__
        known: Node = held.setdefault(self._key, node)  # another thread may do the same
        if known.era is self._era and known is not node:
            return known
        held[self._key] = node
        with suppress(AttributeError):  # whose end cannot be seen has what the worker wrote
            Ending.put_on(span, self._watcher)
        self._open[node.span_id] = node
        self.forgotten += make_room(self._open, self._most + 1)
        return node

    def _gone(self, span: SpanReference) -> None:
        """Forget a span that never ended and is there no more. In a finalizer: no lock."""
        self._open.pop(span.span_id, None)

    def _host(self, span: Any) -> Node | None:
        """Return a node for the application's own span that LLM work was begun right below of.

        What it does after that may be what the model asked for.
        """
        if not span.is_recording():
            return None
        node = self._take(span, None)
        self._hosted()
        return node

    def _by_id(self, identity: Any) -> Node | None:
        node = self._open.get(identity.span_id)
        return node if node is not None and node.trace_id == identity.trace_id else None

    def _renewed(self, node: Node) -> Node | None:
        """Return a node of this process for a span that was open when it was forked."""
        span = node.span()
        known: Node | None = getattr(span, self._key, None)
        if known is not None and known.era is self._era:
            return known
        above = None if node.above is None else self._renewed(node.above)
        if span is None or node.is_over:
            return above
        renewed = self._take(span, above)
        renewed.before, renewed.below = node.before, node.below
        return renewed

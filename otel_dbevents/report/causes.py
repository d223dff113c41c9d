"""Which generation caused a piece of database work, and by that which prompt.

A database span says it. Where it does not, the spans' order does, by the same rule: the generation
that it ran in, else, going outwards, the latest that had ended under a span that both are under.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

from otel_dbevents.report import keys
from otel_dbevents.report.keys import text
from otel_dbevents.report.kinds import is_database
from otel_dbevents.report.model import Span
from otel_dbevents.report.tree import Tree


class Causes:
    """Finds the generation that caused a span, within one turn of a trace."""

    def __init__(self, tree: Tree, head: Span, generations: Sequence[Span]) -> None:
        self._tree = tree
        self._head = head
        self._by_id = {each.span_id: each for each in generations}
        self._under: dict[str, list[Span]] = defaultdict(list)
        for generation in sorted(generations, key=lambda each: each.end_ns):
            for span_id in {head.span_id, *(each.span_id for each in tree.above(generation))}:
                self._under[span_id].append(generation)
        self._said = any(text(each.attributes, keys.CAUSE) for each in tree.database)

    def of(self, span: Span) -> Span | None:
        """Return the generation that caused a span's work; None: there had been none yet."""
        if cause := text(span.attributes, keys.CAUSE):
            return self._by_id.get(cause)
        if self._said and is_database(span):
            return None
        return self._by_order(span)

    def holds_generations(self, span: Span) -> bool:
        """Whether any generation ran under a span, so that its work cannot be told apart."""
        return bool(self._under.get(span.span_id))

    def _by_order(self, span: Span) -> Span | None:
        if span.span_id in self._by_id:
            return span
        above = [*self._tree.above(span), self._head]
        for each in above:
            if each.span_id in self._by_id:
                return each
            if found := _latest_before(self._under.get(each.span_id, []), span.start_ns):
                return found
        return None


def _latest_before(generations: Sequence[Span], time_ns: int) -> Span | None:
    ended = bisect_right(generations, time_ns, key=lambda each: each.end_ns)
    return generations[ended - 1] if ended else None

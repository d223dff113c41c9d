"""One trace's spans by who is under whom, and which turns they belong to."""

from collections.abc import Iterator, Sequence

from otel_dbevents.report import keys
from otel_dbevents.report.keys import text
from otel_dbevents.report.kinds import is_database, is_generation, is_llm, is_moment
from otel_dbevents.report.model import Span


class Tree:
    """A trace. Spans between may be missing: Langfuse keeps only those of LLM work."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.by_id = {span.span_id: span for span in spans}
        self.database = [span for span in spans if is_database(span) and not is_moment(span)]
        self.llm = sorted((span for span in spans if is_llm(span)), key=_order)
        self.generations = [span for span in self.llm if is_generation(span)]
        self._llm_ids = {span.span_id for span in self.llm}
        self._heads: dict[str, Span] = {}
        self._find_heads()

    def above(self, span: Span) -> Iterator[Span]:
        """Return all spans that this one is under, the nearest first."""
        met = {span.span_id}
        while (parent := self.by_id.get(span.parent_id)) is not None:
            if parent.span_id in met:  # a circle: whoever sent that knows why
                return
            met.add(parent.span_id)
            yield parent
            span = parent

    def head(self, span: Span) -> Span | None:
        """Return the outermost LLM span that a span belongs to; None outside of LLM work.

        Where the spans between are missing: that of the generation it names as its cause, else
        the only one in whose time it was.
        """
        if (found := self._heads.get(span.span_id)) is not None:
            return found
        for each in self.above(span):
            if (found := self._heads.get(each.span_id)) is not None:
                return found
        if (found := self._heads.get(text(span.attributes, keys.CAUSE))) is not None:
            return found
        heads = {each.span_id: each for each in self._heads.values() if _holds(each, span)}
        return next(iter(heads.values())) if len(heads) == 1 else None

    def _find_heads(self) -> None:
        for span in self.llm:
            outermost = span
            for each in self.above(span):
                if each.span_id in self._llm_ids:
                    outermost = each
            self._heads[span.span_id] = outermost
        ids = {head.span_id for head in self._heads.values()}
        joined = self._joined([span for span in self.llm if span.span_id in ids])
        for span_id, outermost in self._heads.items():
            head = outermost
            while (further := joined[head.span_id]) is not head:
                head = further
            self._heads[span_id] = head

    def _joined(self, heads: Sequence[Span]) -> dict[str, Span]:
        """Return for each head the one that it is part of, its parent not being there; else itself.

        Both may be under the same span that is not there: then they stand side by side.
        """
        joined: dict[str, Span] = {}
        open_ones: list[Span] = []
        for head in heads:
            open_ones = [each for each in open_ones if each.end_ns >= head.start_ns]
            missing = self._missing_above(head)
            fits = (
                each
                for each in open_ones
                if missing and _holds(each, head) and each.parent_id != missing
            )
            joined[head.span_id] = next(fits, head)
            open_ones.append(head)
        return joined

    def _missing_above(self, span: Span) -> str:
        """Return the id of the span on top that has a parent which is not there; else nothing."""
        for each in self.above(span):
            span = each
        return span.parent_id if span.parent_id not in self.by_id else ""


def _order(span: Span) -> tuple[int, int]:
    return (span.start_ns, -span.end_ns)


def _holds(outer: Span, inner: Span) -> bool:
    return outer.start_ns <= inner.start_ns and inner.end_ns <= outer.end_ns

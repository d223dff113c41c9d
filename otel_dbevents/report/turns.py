"""Turns: what a trace's spans come to."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from otel_dbevents.report import keys, work
from otel_dbevents.report.causes import Causes
from otel_dbevents.report.keys import number
from otel_dbevents.report.kinds import is_database, is_generation, prompt_of
from otel_dbevents.report.measures import covered
from otel_dbevents.report.model import Part, Prompt, Span, Turn, Work
from otel_dbevents.report.tree import Tree


def turns_of(spans: Sequence[Span]) -> Iterator[Turn]:
    """Return the turns of one trace, given all spans of it that there are."""
    tree = Tree(spans)
    llm: dict[str, list[Span]] = defaultdict(list)
    database: dict[str, list[Span]] = defaultdict(list)
    for span in (*tree.llm, *tree.database):
        if (head := tree.head(span)) is not None:
            (database if is_database(span) else llm)[head.span_id].append(span)
    for head_id, members in llm.items():
        yield _Reading(tree, tree.by_id[head_id], members, database[head_id]).turn()


class _Reading:
    """One turn's spans, while they are read."""

    def __init__(
        self, tree: Tree, head: Span, members: Sequence[Span], database: Sequence[Span]
    ) -> None:
        self.tree = tree
        self.head = head
        self.database = database
        self.generations = [each for each in members if is_generation(each)]
        self.causes = Causes(tree, head, self.generations)
        self.rolled = [each for each in members if work.has_roll_up(each)]
        self.told = self._told()
        """What the roll-ups say; None where there is none."""
        self.complete = bool(database) and (
            self.told is None or work.count_of(database) >= self.told.query_count
        )
        """Whether all the work is there as spans."""

    def turn(self) -> Turn:
        """Return the turn."""
        head, done = self.head, self._work()
        told = self.told is not None and done == self.told
        return Turn(
            trace_id=head.trace_id,
            start_ns=head.start_ns,
            duration_ns=head.duration_ns,
            model_ns=self._model_time(self.generations),
            work=done,
            parts=tuple(self._parts(done)),
            queries=work.queries_of(self.database, self._outermost()),
            repetitions=work.repetitions_of(self.database, self._outermost()),
            share=number(head.attributes, keys.SHARE) if told else None,
            rolled_up=self.told is not None,
            complete=self.complete,
        )

    def _model_time(self, generations: Sequence[Span]) -> int:
        within = (self.head.start_ns, self.head.end_ns)
        return covered(((each.start_ns, each.end_ns) for each in generations), within)

    def _told(self) -> Work | None:
        rolled = [work.rolled_up(each) for each in self._outermost()]
        return work.added(rolled, self._longest()) if rolled else None

    def _longest(self) -> int:
        """Return how long the turn was at most: Langfuse cuts its times to milliseconds."""
        return self.head.duration_ns + 1_000_000

    def _outermost(self) -> list[Span]:
        """Return the roll-ups that no other one holds."""
        ids = {each.span_id for each in self.rolled}
        return [
            each
            for each in self.rolled
            if not any(above.span_id in ids for above in self.tree.above(each))
        ]

    def _work(self) -> Work | None:
        """Return what the roll-ups say, or what the spans do where they saw more than these."""
        told = self.told
        if self.database and (told is None or work.count_of(self.database) > told.query_count):
            return work.spans_work(self.database, self._longest())
        return told

    def _parts(self, done: Work | None) -> Iterator[Part]:
        prompts: dict[Prompt, list[Span]] = defaultdict(list)
        for each in self.generations:
            prompts[prompt_of(each)].append(each)
        if len(prompts) < 2:
            prompt = next(iter(prompts), Prompt())
            shown = (self.database, self._outermost())
            yield Part(
                prompt,
                self._model_time(self.generations),
                done,
                work.queries_of(*shown),
                work.repetitions_of(*shown),
            )
            return
        placed = self._placed()
        for prompt, generations in prompts.items():
            model_ns = self._model_time(generations)
            if placed is None or done is None:
                yield Part(prompt, model_ns, None)
            else:
                yield self._part(prompt, model_ns, placed.get(prompt, []))

    def _part(self, prompt: Prompt, model_ns: int, placed: Sequence[Span]) -> Part:
        rolled = [each for each in placed if not is_database(each)]
        database = [each for each in placed if is_database(each)]
        works = [work.rolled_up(each) for each in rolled]
        if database:
            works.append(work.spans_work(database, self._longest()))
        return Part(
            prompt,
            model_ns,
            work.added(works, self._longest()),
            work.queries_of(database, rolled),
            work.repetitions_of(database, rolled),
        )

    def _placed(self) -> dict[Prompt | None, list[Span]] | None:
        """Return by prompt what says what it caused; None where that cannot be told.

        Database spans where all are there; else the roll-ups that stand at one place, which all of
        the work must be in.
        """
        found: dict[Prompt | None, list[Span]] = defaultdict(list)
        spans: Sequence[Span] | None = self.database if self.complete else self._leaves()
        if spans is None:
            return None
        for span in spans:
            cause = self.causes.of(span)
            found[prompt_of(cause) if cause else None].append(span)
        return found

    def _leaves(self) -> list[Span] | None:
        """Return the roll-ups of spans with no generation under them; None if work is elsewhere."""
        if self.told is None:
            return None
        found: list[Span] = []
        for span in self.rolled:
            ids = {each.span_id for each in found}
            if not self.causes.holds_generations(span) and not any(
                above.span_id in ids for above in self.tree.above(span)
            ):
                found.append(span)
        placed = sum(work.rolled_up(each).query_count for each in found)
        return found if placed >= self.told.query_count else None

"""What must have come out of a variant: one that is fast by doing nothing fails the run."""

from collections.abc import Iterator, Mapping

from benchmarks.output import Output
from benchmarks.scenes import SCENES
from benchmarks.variants import Variant

SPANS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "contrib": {"connect": ("connect",), "orm": ("connect",), "threads": ("connect",)},
    "ours": {"connect": ("CONNECT",), "orm": ("COMMIT",)},
}
"""Beside its statements': the spans that each operation of a scene has, by their first words."""
ATTRIBUTES: Mapping[str, frozenset[str]] = {
    "contrib": frozenset({"db.system", "db.statement"}),
    "ours": frozenset({"db.system.name", "db.namespace", "db.query.text", "db.query.summary"}),
}
"""What every statement's span has."""
SINGLE = 10
"""So many runs under one span are told one by one; the rest of a burst is one span or a few."""


def complaints(
    variant: Variant, scene: str, operations: int, output: Output, before: Mapping[str, int]
) -> list[str]:
    """Say what is wrong with what came of so many operations; nothing where all is well.

    ``before`` is what the histogram had counted before them. Spans that were only counted are
    looked at in number only.
    """
    wrong = [*_of_durations(variant, scene, operations, output.durations, before)]
    if _has_spans(variant):
        wrong += _of_spans(variant, scene, operations, output)
    elif output.spans or output.total:
        wrong.append(f"has {output.total or output.spans} spans, and should have none")
    return [f"{variant.name}, {scene}: {said}" for said in wrong]


def _has_spans(variant: Variant) -> bool:
    makes = variant.made_by in ATTRIBUTES and variant.settings.get("spans", True)
    return bool(makes and variant.sampled)


def _of_durations(
    variant: Variant, scene: str, operations: int, now: Mapping[str, int], before: Mapping[str, int]
) -> Iterator[str]:
    if variant.made_by != "ours":
        return
    for word in SCENES[scene].statements:
        counted = now.get(word, 0) - before.get(word, 0)
        if counted != operations:
            yield f"the histogram counted {counted} {word}, not {operations}"


def _of_spans(variant: Variant, scene: str, operations: int, output: Output) -> Iterator[str]:
    statements = SCENES[scene].statements
    words = (*statements, *SPANS[variant.made_by].get(scene, ()))
    folds = variant.made_by == "ours" and scene == "burst"
    if output.total is not None:
        least = SINGLE + 1 if folds else operations * len(words)
        if output.total < least:
            yield f"has {output.total} spans, and should have {least}"
        if not output.spans:
            return
    for word in words:
        stand_for = output.queries.get(word, 0)
        if stand_for != operations:
            yield f"{word} spans stand for {stand_for}, not {operations}"
        if not folds and output.spans.get(word) != operations:
            yield f"{output.spans.get(word)} spans {word}, not {operations}"
        if output.misshapen.get(word):
            yield f"{output.misshapen[word]} spans {word} have no span above, or are no client's"
        failed = operations if scene == "failing" else 0
        if output.errors.get(word, 0) != failed:
            yield f"{output.errors.get(word, 0)} spans {word} tell an error, not {failed}"
    for word in statements:
        missing = ATTRIBUTES[variant.made_by] - set(output.common.get(word, ()))
        if missing:
            yield f"spans {word} lack {', '.join(sorted(missing))}"

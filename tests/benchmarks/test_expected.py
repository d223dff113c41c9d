"""A benchmark whose variant is fast by doing nothing, or by doing half, is none."""

from dataclasses import asdict, replace

import pytest

from benchmarks.expected import ATTRIBUTES, complaints
from benchmarks.measuring import measure
from benchmarks.output import FOLDED, Output, Span
from benchmarks.turns import WrongOutputError
from benchmarks.variants import BARE, VARIANTS, Variant

BY_NAME = {variant.name: variant for variant in VARIANTS}
OURS, CONTRIB = BY_NAME["ours"], BY_NAME["contrib"]
SELECT = Span("SELECT", dict.fromkeys(ATTRIBUTES["ours"], "told"), True, True, False, 1)


def of(*spans: Span, counted: int | None = None) -> Output:
    output = Output(durations={"SELECT": len(spans) if counted is None else counted})
    output.add(spans)
    return output


def said_of(output: Output, variant: Variant = OURS, scene: str = "held") -> list[str]:
    return complaints(variant, scene, 3, output, {})


def test_a_variant_that_does_nothing_fails_the_run() -> None:
    idle = Variant("ours, turned off", "ours", settings={"enabled": False})
    with pytest.raises(WrongOutputError, match=r"ours, turned off, held: .* counted 0 SELECT"):
        measure(["held"], rounds=1, short=True, variants=[BARE, idle])


def test_what_should_have_come_out_is_not_complained_of() -> None:
    assert said_of(of(SELECT, SELECT, SELECT)) == []


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ((SELECT, SELECT), "stand for 2, not 3"),
        ((SELECT,) * 6, "stand for 6, not 3"),  # an engine that is instrumented twice
        ((SELECT, SELECT, replace(SELECT, child=False)), "no span above"),
        ((SELECT, SELECT, replace(SELECT, client=False)), "no client's"),
        ((SELECT, SELECT, replace(SELECT, error=True)), "1 spans SELECT tell an error"),
        ((SELECT, SELECT, replace(SELECT, attributes={})), "lack db.namespace"),
    ],
)
def test_spans_that_are_not_as_they_should_be_are_complained_of(
    spans: tuple[Span, ...], said: str
) -> None:
    assert any(said in line for line in said_of(of(*spans, counted=3)))


def test_a_statement_that_the_histogram_missed_is_complained_of() -> None:
    assert any("counted 2" in line for line in said_of(of(SELECT, SELECT, SELECT, counted=2)))


def test_an_unsampled_trace_must_have_no_span_and_all_durations() -> None:
    unsampled = BY_NAME["ours, unsampled"]
    assert said_of(of(counted=3), unsampled) == []
    assert any("should have none" in line for line in said_of(of(SELECT, counted=3), unsampled))


def test_a_folded_span_stands_for_all_its_runs() -> None:
    folded = replace(SELECT, attributes={**SELECT.attributes, FOLDED: 2})
    assert said_of(of(SELECT, folded, counted=3), scene="burst") == []
    assert said_of(of(SELECT, SELECT, counted=3), scene="burst") != []


def test_a_statement_that_fails_must_say_so() -> None:
    failed = replace(SELECT, error=True)
    assert said_of(of(failed, failed, failed), scene="failing") == []
    assert said_of(of(SELECT, SELECT, SELECT), scene="failing") != []


def test_where_spans_are_only_counted_too_few_are_seen() -> None:
    assert complaints(CONTRIB, "held", 3, Output(total=3), {}) == []
    assert complaints(CONTRIB, "held", 3, Output(total=2), {}) != []


def test_what_came_out_is_told_across_processes_as_it_is() -> None:
    output = of(SELECT, SELECT)
    assert Output(**asdict(output)) == output

"""Several runs: a ratio holds where it holds in each of them."""

import json

import pytest

from benchmarks.chart import svg_of
from benchmarks.instructions import plan
from benchmarks.limits import Limit, held
from benchmarks.result import Result, Unit, table_of
from benchmarks.runs import Runs
from benchmarks.sidecar.result import Measured, Pair, Part, row_of
from benchmarks.sidecar.result import Result as SidecarResult
from benchmarks.sidecar.result import Runs as SidecarRuns
from benchmarks.sidecar.result import text_of_runs as sidecar_text_of_runs
from benchmarks.table import text_of_runs
from benchmarks.variants import BARE, VARIANTS, Variant

LIMITS = [Limit("held", "thread", "ours", "contrib", budget=0.10, limit=0.13)]


def result_of(ours: float, unit: Unit = "instructions", alone: bool = False) -> Result:
    """Return a run in which ours adds so much where contrib adds 100."""
    samples = {"held": {"bare": [(10, 10)], "contrib": [(110, 110)], "ours": [(10 + ours, 60)]}}
    table = table_of(unit, samples, VARIANTS, alone=alone)
    return Result((table,), held(table, LIMITS), {"Python": "3.11"})


def runs_of(*ours: float, unit: Unit = "instructions") -> Runs:
    return Runs([result_of(each, unit) for each in ours])


@pytest.mark.parametrize(
    ("ours", "ok", "verdict"),
    [
        ((9, 8, 10), True, "within the budget in all 3"),
        ((9, 12, 8), True, "over the budget in 1 of 3"),
        ((8, 9, 14), False, "OVER THE LIMIT in 1 of 3"),
        ((14, 12, 14), False, "OVER THE LIMIT in 2 of 3"),
    ],
)
def test_a_ratio_holds_only_where_it_holds_in_every_run(
    ours: tuple[float, ...], ok: bool, verdict: str
) -> None:
    runs = runs_of(*ours)
    (ratio,) = runs.budgets(LIMITS)
    assert (runs.ok, ratio.ok, ratio.verdict) == (ok, ok, verdict)
    assert (ratio.worst, ratio.spread) == pytest.approx(
        (max(ours) / 100, (max(ours) - min(ours)) / 100)
    )


def test_times_are_told_and_judge_nothing() -> None:
    samples = runs_of(90, 90, unit="us").results
    runs = Runs([Result(result.tables, (), {}) for result in samples])
    (ratio,) = runs.budgets(LIMITS)
    assert (runs.ok, ratio.limit, ratio.kind) == (True, None, "CPU time")
    assert ratio.verdict == "over the budget in 2 of 2"


def test_a_ratio_that_one_run_does_not_have_is_not_told_of_the_others() -> None:
    nothing = table_of("instructions", {"held": {"bare": [(10, 10)]}}, VARIANTS)
    runs = Runs([result_of(9), Result((nothing,), (), {})])
    assert runs.budgets(LIMITS) == []
    assert runs.ratios("instructions") == []


def test_the_text_shows_each_runs_ratio_the_worst_and_the_verdict() -> None:
    lines = text_of_runs(runs_of(9, 12, 8)).splitlines()
    told = lines[
        1 + lines.index("  a SELECT on a held connection, caller's thread: ours / contrib")
    ]
    assert told.split()[1:6] == ["0.090", "0.120", "0.080", "0.120", "0.040"]
    assert told.endswith("OVER THE LIMIT in 1 of 3")
    (scene,) = (line for line in lines if line.startswith("  a SELECT on a held connection   "))
    assert scene.split()[6:] == ["0.08", "to", "0.12", "0.50"]


def test_a_process_that_did_nothing_else_is_told_apart() -> None:
    both = [
        Result((result_of(9).tables[0], result_of(7, alone=True).tables[0]), (), {})
        for _ in range(2)
    ]
    kinds = [ratio.kind for ratio in Runs(both).budgets(LIMITS)]
    assert kinds == ["instructions", "instructions, alone"]
    told = [line.split() for line in text_of_runs(Runs(both)).splitlines()]
    assert ["instructions", "0.090"] in [line[:2] for line in told]
    assert ["instructions,", "alone", "0.070"] in [line[:3] for line in told]


def test_the_json_holds_all_runs_and_what_is_said_of_them() -> None:
    read = json.loads(runs_of(9, 12, 14).to_json())
    assert read["ok"] is False
    assert len(read["runs"]) == 3
    (ratio,) = (
        each for each in read["budgets"] if each["of"] == "contrib" and each["part"] == "thread"
    )
    assert ratio["runs"] == pytest.approx([0.09, 0.12, 0.14])
    assert ratio["verdict"] == "OVER THE LIMIT in 2 of 3"


def test_the_chart_of_several_runs_has_the_ratio_in_the_middle() -> None:
    together = runs_of(30, 20, 90).together()
    row = together.tables[0].row("held", "ours")
    assert row is not None
    assert row.thread_ratio == pytest.approx(0.3)
    assert (row.thread.low, row.thread.median, row.thread.high) == (20, 30, 90)
    assert ">0.30<" in svg_of(together)


def everything(_scene: str, _variant: object) -> bool:
    return True


def test_all_scenes_are_counted_in_one_process_and_each_in_one_that_does_nothing_else() -> None:
    together, single = plan(["held", "orm", "llm"], [BARE], everything, 1, alone=True)
    order = ["orm", "llm", "held"]
    assert together == [(BARE, order, order)]
    assert single == [(BARE, [scene], [scene]) for scene in order]


@pytest.mark.parametrize(
    ("scenes", "together", "single"), [(["held", "orm"], 1, 0), (["held"], 0, 1), ([], 0, 0)]
)
def test_a_scene_by_itself_is_counted_once(scenes: list[str], together: int, single: int) -> None:
    found = plan(scenes, [BARE], everything, 0, alone=False)
    assert (len(found[0]), len(found[1])) == (together, single)


def test_what_is_compared_has_done_the_same_before_whatever_of_it_is_wanted() -> None:
    def wanted(scene: str, variant: Variant) -> bool:
        return scene == "held" or (scene == "orm" and variant is BARE)

    ours = next(variant for variant in VARIANTS if variant.name == "ours")
    together, single = plan(["held", "orm", "llm"], [BARE, ours], wanted, 0, alone=True)
    done = ["held", "orm"]
    assert together == [(BARE, done, done), (ours, done, ["held"])]
    assert [(piece.variant, piece.counts) for piece in single] == [
        (BARE, ["held"]),
        (BARE, ["orm"]),
        (ours, ["held"]),
    ]


def test_of_the_sidecars_runs_the_worst_is_the_slowest() -> None:
    def run(cpu: float) -> SidecarResult:
        rows = [row_of("theirs", [Measured(80, 1, 0)]), row_of("ours", [Measured(cpu, 1, 0)])]
        pair = Pair(rows[1], rows[1])
        return SidecarResult(1, [Part("telling", "theirs", rows, [pair])], {"Python": "3.11"})

    runs = SidecarRuns([run(20), run(40)])
    assert runs.speeds()["telling"] == {
        "theirs": [1.0, 1.0],
        "ours": [4.0, 2.0],
        "two of ours, of one": [2.0, 2.0],
    }
    (ours,) = (
        line for line in sidecar_text_of_runs(runs).splitlines() if line.startswith("  ours")
    )
    assert ours.split() == ["ours", "4.00x", "2.00x", "2.00x", "2.00x"]
    assert len(json.loads(runs.to_json())["runs"]) == 2

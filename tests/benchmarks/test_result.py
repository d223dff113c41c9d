"""Table, chart and JSON are made of the one result."""

import json
from xml.etree import ElementTree as ET

import pytest

from benchmarks.chart import svg_of
from benchmarks.limits import Limit, held
from benchmarks.result import Result, Spread, Table, table_of
from benchmarks.table import text_of
from benchmarks.variants import VARIANTS

SAMPLES = {
    "held": {
        "bare": [(20.0, 21.0), (22.0, 23.0), (40.0, 41.0)],
        "two empty listeners": [(24.0, 25.0), (26.0, 27.0), (44.0, 45.0)],
        "contrib": [(60.0, 61.0), (62.0, 63.0), (80.0, 81.0)],
        "ours": [(25.0, 37.0), (27.0, 41.0), (44.0, 53.0)],
    }
}


@pytest.fixture
def table() -> Table:
    return table_of("us", SAMPLES, VARIANTS, rounds=3)


@pytest.fixture
def result(table: Table) -> Result:
    limits = [Limit("held", "thread", "ours", "contrib", budget=0.1, limit=0.13)]
    return Result((table,), held(table, limits), {"Python": "3.11"})


def test_what_a_variant_adds_is_the_median_of_each_rounds_difference(table: Table) -> None:
    ours = table.row("held", "ours")
    assert ours is not None
    assert ours.thread == Spread(4.5, 5.0, 5.0)  # 5, 5, 4: the slow third round is slow for both
    assert ours.thread_ratio == pytest.approx(5 / 40)
    assert ours.process_ratio == pytest.approx(16 / 40)


def test_a_variant_that_was_not_measured_has_no_row(table: Table) -> None:
    assert table.row("held", "ours, unsampled") is None


def test_the_table_tells_the_ratios_of_the_result(result: Result) -> None:
    lines = text_of(result).splitlines()
    (ours,) = (line for line in lines if line.startswith("  ours"))
    assert ours.split() == ["ours", "5.0", "(4.5", "to", "5.0)", "0.12", "16.0", *ours.split()[7:]]
    assert ours.split()[-1] == "0.40"


def test_the_chart_tells_the_ratios_of_the_result(result: Result) -> None:
    drawn = ET.fromstring(svg_of(result))
    said = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"0.12", "0.40", "a SELECT on a held connection"} <= {*said}


def test_the_chart_needs_nothing_from_elsewhere(result: Result) -> None:
    drawn = svg_of(result)
    assert "href" not in drawn
    assert "url(" not in drawn
    assert drawn.count("http") == 1  # the name of the format


def test_the_json_holds_all_of_the_result(result: Result) -> None:
    read = json.loads(result.to_json())
    ours = read["tables"][0]["scenes"]["held"][3]
    assert (ours["variant"], ours["thread"]["median"]) == ("ours", 5.0)
    assert read["limits"][0]["limit"] == 0.13
    assert read["versions"] == {"Python": "3.11"}


def test_the_chart_draws_instructions_where_they_were_counted(table: Table) -> None:
    counted = table_of("instructions", SAMPLES, VARIANTS)
    assert "instructions" in svg_of(Result((table, counted), (), {}))
    assert "CPU time" in svg_of(Result((table,), (), {}))


@pytest.mark.parametrize(("limit", "ok"), [(0.13, True), (0.12, False)])
def test_a_limit_is_kept_or_not(table: Table, limit: float, ok: bool) -> None:
    (judged,) = held(table, [Limit("held", "thread", "ours", "contrib", 0.1, limit)])
    assert judged.measured == pytest.approx(0.125)
    assert judged.ok is ok
    assert ("OVER THE LIMIT" in text_of(Result((), (judged,), {}))) is not ok


def test_a_limit_whose_variants_were_not_counted_is_not_judged(table: Table) -> None:
    assert held(table, [Limit("held", "thread", "ours, OTLP", "contrib, OTLP", 0.2, 0.3)]) == ()

"""The page of the cost is true: what it measured agrees with the limits, what it names is there."""

import re
from pathlib import Path

import pytest

from benchmarks import arguments
from benchmarks.limits import LIMITS, Limit, held
from benchmarks.page import BEGIN, END, parts, section, write
from benchmarks.result import Result, table_of
from benchmarks.runs import Runs
from benchmarks.scenes import SCENES
from benchmarks.variants import VARIANTS
from otel_dbevents.config import Config, variable

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

PAGE = Path(__file__).parents[2] / "docs/performance.md"
TEXT = PAGE.read_text()
MEASURED = TEXT.partition(BEGIN)[2].partition(END)[0]
BUDGETS = {limit.what: limit for limit in LIMITS}


def rows_of(table: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| ")
    ]


def budgets() -> list[tuple[str, str, list[float], str]]:
    """Return what has a budget: what, of what, runs with worst, spread and budget, verdict."""
    found, what = [], ""
    for row in rows_of(MEASURED.partition("### The budgets")[2].partition("###")[0])[1:]:
        what = row[0] or what
        found.append((what, row[1], [float(each) for each in row[2:-1]], row[-1]))
    return found


def test_the_budgets_that_it_tells_are_those_of_the_limits() -> None:
    told = {what: numbers[-1] for what, _, numbers, _ in budgets() if what in BUDGETS}
    assert len(told) > 5
    assert told == {what: pytest.approx(BUDGETS[what].budget, abs=0.001) for what in told}


def test_what_it_says_of_the_runs_is_what_its_numbers_say() -> None:
    for what, kind, (*runs, worst, spread, budget), verdict in budgets():
        assert worst == max(runs), what
        assert spread == pytest.approx(max(runs) - min(runs), abs=0.002), what
        if all(abs(run - budget) > 0.001 for run in runs):  # else rounding could hide it
            assert verdict.startswith("within") is all(run <= budget for run in runs), (what, kind)
        assert not (kind == "CPU time" and "LIMIT" in verdict), what


def test_it_tells_of_every_scene_and_both_kinds_of_counts() -> None:
    assert [scene.title for scene in SCENES.values() if f"| {scene.title} |" not in MEASURED] == []
    assert {kind for _, kind, _, _ in budgets()} == {
        "instructions",
        "instructions, alone",
        "CPU time",
    }


def test_it_is_not_about_another_product_than_this_one() -> None:
    assert "otel-dbevents" in MEASURED
    assert "SQLAlchemy 2.0" in MEASURED


def test_its_commands_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "available", lambda: True)
    monkeypatch.setattr(arguments, "has_redis", lambda: True)
    monkeypatch.chdir(PAGE.parents[1])
    commands = re.findall(r"make bench BENCH='([^']+)'", TEXT)
    assert len(commands) > 4
    for command in commands:
        arguments.read(command.split())


def test_it_names_only_settings_that_there_are() -> None:
    settings = {variable(name) for name in Config.model_fields}
    assert {*re.findall(r"OTEL_DBEVENTS_\w+", TEXT)} <= settings


def test_the_files_that_it_links_are_there() -> None:
    linked = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    assert linked
    assert [name for name in linked if not (PAGE.parent / name).exists()] == []


def runs() -> Runs:
    limit = Limit("held", "thread", "ours", "contrib", 0.1, 0.13)
    samples = {"held": {"bare": [(20, 21)], "contrib": [(120, 121)], "ours, OTLP": [(30, 40)]}}
    samples["held"] |= {"ours": [(29, 39)], "contrib, OTLP": [(220, 221)]}
    table = table_of("us", samples, VARIANTS)
    return Runs([Result((table,), held(table, [limit]), {"Python": "3.11"})] * 3)


def test_what_was_measured_stands_in_the_page_as_it_was() -> None:
    said = section(runs())
    assert "| CPU time | 0.090 | 0.090 | 0.090 | 0.090 | 0.000 | 0.100 | within the budget" in said
    assert "| a SELECT on a held connection | 20.0 | 100.0 | 9.0 | 200.0 | 19.0 |" in said
    assert "| 1,000 | 20.00% | 1.90% |" in said


def test_the_words_around_it_stay(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\n12.34\n{END}\nbehind\n")
    write(page, runs())
    assert parts(page) == ("before\n", "\nbehind\n")
    assert "12.34" not in page.read_text()
    assert page.read_text().count(BEGIN) == 1


def test_where_there_is_no_page_one_is_made_that_can_be_written_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    write(page, runs())
    write(page, runs())
    assert page.read_text().startswith(BEGIN)
    assert page.read_text().count("### The budgets") == 1

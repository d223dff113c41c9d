"""What a person sees."""

import re

import pytest
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console

from otel_dbevents.demo.scenes import Exchange
from otel_dbevents.demo.terminal import TerminalView
from tests.demo.running import demo

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


@pytest.fixture(scope="module")
def shown() -> str:
    finished = demo()
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    return finished.stdout


def test_it_is_plain_text_that_fits_a_terminal(shown):
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 100
    assert "Traceback" not in shown


def test_trees_events_metrics_and_advice_are_there(shown):
    for line in (
        "├─ chat scripted-sql",
        "│  └─ SELECT customers orders",
        "SELECT messages \N{MULTIPLICATION SIGN} 200",
        "CommitFailed",
        "held by export orders",
        "db.client.operation.duration",
        "events lost on the way: 0",
        "import otel_dbevents.auto",
    ):
        assert line in shown
    assert "Exporters" not in shown


def test_the_n_plus_one_is_one_line_of_the_tree(shown):
    rows = [line for line in shown.splitlines() if "\N{BOX DRAWINGS LIGHT UP AND RIGHT}" in line]
    assert sum("SELECT messages \N{MULTIPLICATION SIGN} 200" in row for row in rows) == 1


def test_the_n_plus_one_comes_with_its_place_and_its_mend(shown):
    told = " ".join(shown.split())
    assert re.search(
        r"otel_dbevents/demo/\w+\.py:\d+ Order\.messages is lazy-loaded row by row", told
    )
    assert "add options(selectinload(Order.messages))" in told


def test_the_second_act_is_told_by_its_changes(shown):
    _, _, act = shown.partition("Second act: the database is killed, and comes back")
    act, _, _ = act.partition("Metrics of this run")
    lines = act.splitlines()
    refused = [line for line in lines if re.match(r"  [\d:.]+  DatabaseConnectionFailed", line)]
    assert len(refused) == 1
    assert re.search(r"and \d+ more: DatabaseConnectionFailed", act)
    assert "unhealthy, ECONNREFUSED" in act
    assert re.search(r"DatabaseRecovered +sales +after \d+ refused attempts", act)
    assert re.search(r"the application +\d+ sales, then \d+ OperationalError, then \d+ sales", act)
    assert re.search(r"connection\.status +1 -> 0 -> 1", act)
    assert "(no Prometheus ran)" in act
    assert max(map(len, lines)) <= 100


def test_it_ends_with_a_verdict_on_each_prompt_and_one_with_and_without(shown):
    _, _, end = shown.partition("One prompt in Langfuse, without and with otel_dbevents")
    without, _, rest = end.partition("  with: ")
    assert "execute_tool find_messages" in without
    assert "SELECT" not in without
    with_it, _, all_of_them = rest.partition("Model or database?")
    assert "execute_tool find_messages" in with_it
    assert "200 x SELECT messages" in with_it
    assert "at otel_dbevents/demo/retrieval.py:" in with_it
    assert "caused by chat scripted-sql, call 1 of 2" in with_it
    said = re.findall(r"^  (DATABASE|MODEL|REST) ", all_of_them, re.MULTILINE)
    assert len(said) == 12
    assert set(said[: said.count("DATABASE")]) == {"DATABASE"}
    assert "Which two customers" in all_of_them.partition("  MODEL")[0]


def test_what_the_sampler_left_out_is_answered_still():
    console = Console(width=100)
    with console.capture() as capture:
        TerminalView(console).scene_ends([Exchange("How many?", "Three.", "0" * 32)], [])
    assert "How many?" in capture.get()
    assert "the sampler left this trace out" in capture.get()


def test_a_narrow_terminal_gets_no_bars():
    console = Console(width=80)
    with console.capture() as capture:
        provider = TracerProvider(shutdown_on_exit=False)
        span = provider.get_tracer("test").start_span("root")
        span.end()
        TerminalView(console).scene_ends([], [span])
    assert "root" in capture.get()
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" not in capture.get()

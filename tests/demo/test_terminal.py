"""What a person sees."""

import pytest

from tests.demo.running import demo


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
        "SELECT order_items \N{MULTIPLICATION SIGN} 25",
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
    assert sum("SELECT order_items \N{MULTIPLICATION SIGN} 25" in row for row in rows) == 1

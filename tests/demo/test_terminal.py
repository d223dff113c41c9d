"""What a person sees."""

import xml.etree.ElementTree as ET

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
    assert "Sent" not in shown


def test_the_n_plus_one_is_one_line_of_the_tree(shown):
    rows = [line for line in shown.splitlines() if "\N{BOX DRAWINGS LIGHT UP AND RIGHT}" in line]
    assert sum("SELECT order_items \N{MULTIPLICATION SIGN} 25" in row for row in rows) == 1


def test_one_scene_can_be_shown_and_saved_as_a_picture(tmp_path):
    picture = tmp_path / "commit.svg"
    finished = demo("--scene", "commit", "--svg", str(picture))
    assert finished.returncode == 0, finished.stderr
    assert "COMMIT fails" in finished.stdout
    assert "N+1" not in finished.stdout
    assert ET.parse(picture).getroot().tag.endswith("svg")
    assert "@font-face" not in picture.read_text(encoding="utf-8")


def test_a_terminal_without_unicode_is_no_obstacle():
    finished = demo("--scene", "answer", variables={"PYTHONIOENCODING": "ascii"})
    assert finished.returncode == 0, finished.stderr
    assert "chat scripted-sql" in finished.stdout

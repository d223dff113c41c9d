"""What people see of a report: the table, the page, its picture, and that names harm neither."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from otel_dbevents.report import document, report, spans_of_finished, table
from otel_dbevents.report import shown as words
from otel_dbevents.report.chart import chart
from otel_dbevents.report.model import Span
from otel_dbevents.report.page import page
from otel_dbevents.report.table import _wide
from tests.report.making import finished_run, generation, query, roll_up, span

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

GOLDEN = Path(__file__).parent / "golden"
FOUND = report(spans_of_finished(finished_run()), source="a run", top=3)
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x1b[2J\x00\u202e\r\n"
VOID = {"meta", "rect", "path"}


def evil() -> list[Span]:
    """Return a turn all of whose names are meant to do harm."""
    told = roll_up(20, 30, slowest=(9.0, EVIL), repeated=f"20 x {EVIL} at {EVIL}:3")
    return [
        span("turn", 0, 100, "", {"langfuse.observation.type": "agent", **told}),
        generation("g", 0, 40, "turn", EVIL, EVIL, EVIL),
        query("q", 50, 60, "turn", text=EVIL),
    ]


class Elements(HTMLParser):
    """Reads a page and keeps what is in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_table_is_this():
    assert table(FOUND, width=132) == (GOLDEN / "table.txt").read_text(encoding="utf-8")


def test_the_page_of_documentation_shows_what_comes_out():
    page_of_docs = Path(__file__).parents[2] / "docs" / "report.md"
    assert table(FOUND, width=132) in page_of_docs.read_text(encoding="utf-8")


def test_the_python_of_the_documentation_runs(capsys):
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(code, {})
    assert "Where the time" in capsys.readouterr().out


def test_the_document_is_this():
    assert document(FOUND) == json.loads((GOLDEN / "report.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("width", [60, 72, 80, 100, 132, 200])
def test_no_line_is_wider_than_there_is_room(width):
    long = [
        generation("g", 0, 40, "", "名前" * 40, "7", "m" * 80),
        query("q", 50, 60, "g", text="SELECT 問い合わせ FROM 顧客 " * 9),
    ]
    for found in (FOUND, report(long), report(evil())):
        lines = table(found, width=width).splitlines()
        assert max(map(_wide, lines)) <= width


def test_where_there_is_little_room_the_database_stays():
    head = table(FOUND, width=60).splitlines()[4].split()
    assert head == ["prompt", "turns", "database", "typically"]


def test_wide_letters_stand_in_line():
    found = report(
        [
            generation("a", 0, 40, "", "問い合わせ", "7", "m", trace="t1"),
            generation("b", 0, 40, "", "plain", "7", "m", trace="t2"),
        ]
    )
    rows = [line for line in table(found, width=120).splitlines() if " v7 " in line]
    assert len({_wide(line) for line in rows}) == 1


def test_a_name_does_not_command_the_terminal():
    for line in table(report(evil()), width=200).splitlines():
        assert line.isprintable()


def test_colour_is_only_there_when_wanted():
    assert "\x1b" not in table(FOUND)
    assert "\x1b[31m" in table(FOUND, coloured=True)


def test_the_page_is_whole_and_needs_nothing_else():
    text = page(FOUND)
    elements = Elements(text)
    assert elements.open == []
    assert not {"script", "link", "img", "iframe", "object", "base"} & {*elements.names}
    assert not {"src", "href", "srcset"} & {name for name, _ in elements.attributes}
    assert not re.search(r"url\(|@import|https?://", text)
    assert "prefers-color-scheme:dark" in text
    assert "default-src 'none'" in text


def test_the_page_can_be_read_without_eyes():
    text = page(FOUND)
    elements = Elements(text)
    assert ("lang", "en") in elements.attributes
    assert ("role", "img") in elements.attributes
    assert {"h1", "h2", "caption", "thead", "title"} <= {*elements.names}
    assert elements.attributes.count(("scope", "row")) == len(FOUND.groups) + 1
    assert 'aria-labelledby="chart-title"' in text
    assert '<title id="chart-title">' in text


def test_a_name_stays_a_name_on_the_page():
    text = page(report(evil(), source=EVIL))
    plain = Elements(page(FOUND))
    elements = Elements(text)
    assert {*elements.names} <= {*plain.names}
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert "&lt;script&gt;alert(1)" in text
    for each in ("\x1b", "\x00", "\u202e"):
        assert each not in text


def test_the_page_says_what_the_table_says():
    text = page(FOUND)
    for said in ("support v7", "gpt-4o-mini", "retrieval.py:88", "without a roll-up and without"):
        assert said in text
    assert all(words.change(each).replace(">", "&gt;") in text for each in FOUND.changes)


def test_a_page_of_nothing_is_a_page():
    assert "no turns" in page(report([]))
    assert table(report([]))


def test_a_bar_is_as_long_as_its_medians():
    drawn = chart(FOUND.groups)

    def widths(kind: str) -> list[float]:
        bars = re.findall(rf'bar-{kind}"[^/]+ width="([\d.]+)" height="26"', drawn)
        return [float(each) for each in bars]

    first, second = FOUND.groups[:2]
    assert first.database is not None
    assert second.database is not None
    per_ms = widths("model")[0] / first.model.median
    assert widths("database")[1] / second.database.median == pytest.approx(per_ms, rel=0.02)
    assert len(widths("database")) == sum(
        each.database is not None and each.database.median > 0 for each in FOUND.groups
    )


def test_a_picture_of_turns_without_time_is_drawn():
    assert "<svg" in chart(report([generation("g", 5, 5)]).groups)
    assert chart(()) == ""


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0123, "0.01 ms"),
        (0.482, "0.48 ms"),
        (9.999, "10 ms"),
        (42.04, "42 ms"),
        (999.6, "1,000 ms"),
        (1_240, "1.24 s"),
        (59_900, "59.9 s"),
        (7_200_000, "120.0 min"),
    ],
)
def test_a_time_has_three_digits_and_a_unit(ms, said):
    assert words.duration(ms) == said


@pytest.mark.parametrize(
    ("share", "said"), [(None, "-"), (0, "0 %"), (0.001, "<1 %"), (0.396, "40 %"), (1, "100 %")]
)
def test_a_share_is_in_percent(share, said):
    assert words.percent(share) == said


def test_what_the_numbers_do_not_say_is_said():
    spans = [
        span("turn", 0, 400, "", {"langfuse.observation.type": "agent", **roll_up(5, 40)}),
        generation("a", 0, 50, "turn", "ask", "1"),
        generation("b", 100, 200, "turn", "answer", "2"),
        generation("c", 0, 50, trace="t2"),
        generation("d", 0, 50, trace="t3"),
        query("q", 10, 20, "d", trace="t3"),
    ]
    said = " ".join(words.caveats(report(spans)))
    assert "1 of 3 turns without a roll-up and without database spans" in said
    assert "1 turn without a roll-up:" in said
    assert "In 1 turn with several prompts" in said
    assert "In 1 turn not every statement is known" in said
    assert words.caveats(report([])) == []

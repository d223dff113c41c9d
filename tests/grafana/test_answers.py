"""Every question of every dashboard, asked of the real stores with the data of one real run."""

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.grafana import picture
from tests.grafana.asking import Asked, Shown, every_value, one_value, panels
from tests.grafana.conftest import BOARDS, ONE, QUESTIONS, Run
from tests.services.tools import REPOSITORY

pytestmark = pytest.mark.e2e

SVG = "{http://www.w3.org/2000/svg}"
SOURCES = REPOSITORY / "deploy/grafana/provisioning/datasources/stores.yaml"
VARIABLES = [
    (name, each)
    for name, board in BOARDS.items()
    for each in board["templating"]["list"]
    if each["type"] == "query"
]
EXEMPLARS = [
    (name, panel["title"], target["expr"])
    for name, board in BOARDS.items()
    for panel in panels(board)
    for target in panel["targets"]
    if target.get("exemplar")
]


def named(value: Any) -> str | None:
    return value.where if isinstance(value, Asked) else None


@pytest.mark.parametrize(("board", "question"), QUESTIONS, ids=named)
def test_every_panel_and_every_mark_shows_something(run: Run, board: str, question: Asked) -> None:
    assert run.answers(board, question)


@pytest.mark.parametrize("board", BOARDS)
def test_one_value_of_each_variable_can_be_chosen(run: Run, board: str) -> None:
    """What Grafana escapes in it stays a valid question, and still finds most of what there is."""
    (sidecar,) = run.stores.values("label_values(dbevents_sidecar_lag_seconds, instance)", now(run))
    shown = run.shown(one_value(BOARDS[board], ONE | {"sidecar": sidecar}))
    questions = [question for name, question in QUESTIONS if name == board]
    answered = [question for question in questions if run.stores.ask(question, shown)]
    assert len(answered) >= len(questions) * 0.8


@pytest.mark.parametrize(("board", "variable"), VARIABLES, ids=str)
def test_every_variable_offers_what_there_is(
    run: Run, board: str, variable: dict[str, Any]
) -> None:
    shown = run.shown(every_value(BOARDS[board], ONE))
    offered = run.stores.values(variable["definition"], shown)
    assert ONE.get(variable["name"], "127.0.0.1") in ",".join(offered)


@pytest.mark.parametrize(("board", "title", "expr"), EXEMPLARS)
def test_an_exemplar_leads_to_a_trace_in_jaeger(
    run: Run, board: str, title: str, expr: str
) -> None:
    (source,) = [each for each in sources() if each["type"] == "prometheus"]
    (way,) = source["jsonData"]["exemplarTraceIdDestinations"]
    shown = run.shown(every_value(BOARDS[board], ONE))
    found = [each["labels"] for s in run.stores.exemplars(expr, shown) for each in s["exemplars"]]
    ids = [labels[way["name"]] for labels in found]
    assert any(has_trace(run, trace_id) for trace_id in ids[-20:])


def test_a_log_line_leads_to_its_trace_and_the_trace_back_to_it(run: Run) -> None:
    loki, jaeger = (each["jsonData"] for each in sources() if each["type"] != "prometheus")
    (field,) = loki["derivedFields"]
    assert field["matcherType"] == "label"
    failed = '{service_name="shop"} | event_name="db.client.operation.exception"'
    streams = ask_loki(run, failed)
    trace_id = streams[-1]["stream"][field["matcherRegex"]]
    assert has_trace(run, trace_id)
    # `$$` in a provisioned file is `$`
    query = jaeger["tracesToLogsV2"]["query"].replace("$${__span.traceId}", trace_id)
    events = {stream["stream"]["event_name"] for stream in ask_loki(run, query)}
    assert "db.client.operation.exception" in events


@pytest.mark.parametrize("name", picture.BOARDS)
def test_a_picture_has_every_panel_and_nothing_from_elsewhere(run: Run, name: str) -> None:
    board = BOARDS[name]
    drawn = picture.svg_of(board, run.stores, run.shown(every_value(board, ONE)))
    for svg in (drawn, (REPOSITORY / "docs" / f"dashboard-{name}.svg").read_text()):
        texts = [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]
        for panel in board["panels"]:
            assert panel["title"] in texts
        assert "not drawn by Grafana" in str(texts[-1])
        assert re.findall(r"https?://[^\"]*", svg) == ["http://www.w3.org/2000/svg"]


def sources() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(SOURCES.read_text())["datasources"]
    return found


def now(run: Run) -> Shown:
    return run.shown({})


def ask_loki(run: Run, expr: str) -> list[dict[str, Any]]:
    return run.stores.ask(Asked("", "loki", {"expr": expr}), now(run))


def has_trace(run: Run, trace_id: str) -> bool:
    found = run.stores.get("jaeger", "/api/traces", {"traceID": trace_id})
    return bool(found["data"]) and trace_id in json.dumps(found["data"])

"""The dashboards' JSON by itself: whole, of the generator's making, and explained."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader

from deploy.grafana.boards import ALL
from tests.grafana.asking import DASHBOARDS, asked, boards, load, panels
from tests.services.tools import REPOSITORY

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

PROVISIONING = REPOSITORY / "deploy" / "grafana" / "provisioning"
SOURCES = yaml.safe_load((PROVISIONING / "datasources/stores.yaml").read_text())["datasources"]
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
GRAFANAS_OWN = {"__all_variables", "__auto", "__range", "__rate_interval", "__url_time_range"}

each_board = pytest.mark.parametrize("board", [load(p) for p in boards()], ids=lambda b: b["uid"])


def texts(value: Any) -> Iterator[str]:
    """Give all texts within a piece of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


def test_the_json_is_what_the_generator_makes() -> None:
    """`make dashboards` writes it."""
    made = {path.name: load(path) for path in boards()}
    assert made == json.loads(json.dumps(ALL))


@each_board
def test_every_panel_says_what_it_shows(board: dict[str, Any]) -> None:
    for panel in panels(board):
        assert len(panel["description"]) > 25, panel["title"]
        assert panel["description"].endswith((".", "why.")), panel["title"]


@each_board
def test_every_curve_has_a_unit_and_a_legend(board: dict[str, Any]) -> None:
    for panel in panels(board):
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            for target in panel["targets"]:
                assert target["legendFormat"] != "__auto", panel["title"]


@each_board
def test_no_two_panels_lie_on_each_other(board: dict[str, Any]) -> None:
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [panel["gridPos"] for panel in board["panels"]]
    for place in places:
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above


@each_board
def test_every_variable_that_is_used_is_there_and_the_other_way_round(
    board: dict[str, Any],
) -> None:
    there = {each["name"] for each in board["templating"]["list"]}
    rest = {key: value for key, value in board.items() if key != "templating"}
    used = {
        name
        for text in [*texts(rest), *(v["definition"] for v in variables(board))]
        for found in re.findall(r"\$(?:\{(\w+)\}|(\w+))", text)
        for name in found
        if name
    }
    assert used - GRAFANAS_OWN - there == set()
    assert there - used <= {"prometheus", "loki", "jaeger"}


def variables(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in board["templating"]["list"] if each["type"] == "query"]


def test_every_link_leads_to_a_dashboard_that_is_there() -> None:
    known = {load(path)["uid"] for path in boards()}
    assert len(known) == len(boards())
    urls = [text for path in boards() for text in texts(load(path)) if text.startswith("/d/")]
    assert urls
    assert {url.split("/")[2].split("?")[0] for url in urls} <= known


def test_all_dashboards_find_each_other_by_their_tag() -> None:
    for path in boards():
        board = load(path)
        (link,) = board["links"]
        assert link["tags"] == board["tags"] == ["otel-dbevents"]
        assert link["includeVars"]
        assert link["keepTime"]


@each_board
def test_every_question_is_for_a_source_that_can_be_chosen(board: dict[str, Any]) -> None:
    chosen = {v["name"]: v["query"] for v in board["templating"]["list"] if v["query"] == v["name"]}
    for question in asked(board):
        source = question.query.get("datasource") or {"type": "loki", "uid": "${loki}"}
        assert chosen[source["uid"][2:-1]] == source["type"]


@each_board
def test_a_mark_asks_the_same_in_both_places_that_grafana_looks_at(board: dict[str, Any]) -> None:
    for mark in board["annotations"]["list"]:
        assert mark["expr"] == mark["target"]["expr"]


def test_the_sources_are_those_of_the_compose_file_and_know_each_other() -> None:
    assert [each["type"] for each in SOURCES] == ["prometheus", "loki", "jaeger"]
    uids = {each["uid"] for each in SOURCES}
    named = re.findall(
        r"datasourceUid: (\S+)", (PROVISIONING / "datasources/stores.yaml").read_text()
    )
    assert len(named) == 3
    assert {*named} <= uids
    ports = {"prometheus": "9090", "loki": "3100", "jaeger": "16686"}
    for each in SOURCES:
        assert each["url"] == f"http://{each['type']}:{ports[each['type']]}"
        published = [port.rpartition(":")[2] for port in COMPOSE[each["type"]]["ports"]]
        assert ports[each["type"]] in published


def test_rates_are_over_as_long_as_the_sdk_takes_to_export(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OTEL_METRIC_EXPORT_INTERVAL", raising=False)
    reader = PeriodicExportingMetricReader(ConsoleMetricExporter())
    (prometheus,) = [each for each in SOURCES if each["type"] == "prometheus"]
    assert prometheus["jsonData"]["timeInterval"] == "1m"
    assert reader._export_interval_millis == 60_000
    reader.shutdown()


def test_grafana_is_given_the_files_where_its_configuration_looks_for_them() -> None:
    mounted = dict(volume.split(":")[:2] for volume in COMPOSE["grafana"]["volumes"])
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/files.yaml").read_text())["providers"]
    assert provider["options"]["path"] == mounted["./deploy/grafana/dashboards"]
    home = COMPOSE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DASHBOARDS / home.removeprefix("/etc/grafana/dashboards/")).exists()


def test_no_two_services_want_the_same_port() -> None:
    ports = [p.rpartition(":")[0] for s in COMPOSE.values() for p in s.get("ports", [])]
    assert len(ports) == len({*ports})

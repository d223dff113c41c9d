"""What a Grafana would ask for a dashboard: its variables put in, and sent to the real stores.

Put in as Grafana does it: a choice of all is the variable's own `allValue`, several are a regular
expression; `$__rate_interval` is four scrapes at least, or a step and a scrape.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.services.tools import REPOSITORY

DASHBOARDS = REPOSITORY / "deploy" / "grafana" / "dashboards"
SCRAPE_S = 1
"""How often the tests' Prometheus scrapes; what `timeInterval` says of the data source."""


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def boards() -> list[Path]:
    return sorted(DASHBOARDS.glob("*.json"))


@dataclass(frozen=True)
class Asked:
    """One question of a dashboard: where it stands, which store it is for, and what it is."""

    where: str
    store: str
    query: Mapping[str, Any]


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return all panels but the headings of rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def asked(board: Mapping[str, Any]) -> Iterator[Asked]:
    """Give the questions of all panels and annotations."""
    for panel in panels(board):
        for target in panel["targets"]:
            where = f"{board['title']} / {panel['title']} / {target['refId']}"
            yield Asked(where, target["datasource"]["type"], target)
    for mark in board["annotations"]["list"]:
        yield Asked(f"{board['title']} / {mark['name']}", "loki", mark["target"])


@dataclass(frozen=True)
class Shown:
    """What is shown: from when to when, in seconds since 1970, and the values of the variables."""

    start: float
    end: float
    values: Mapping[str, str]
    points: int = 500
    """How many fit into a panel."""

    @property
    def step(self) -> int:
        return max(1, SCRAPE_S, int((self.end - self.start) / self.points))

    def put_into(self, text: str) -> str:
        """Return a text with the variables' values in the place of their names."""
        length, step = max(1, int(self.end - self.start)), self.step
        values = {
            "__range": f"{length}s",
            "__interval": f"{step}s",
            "__auto": f"{step}s",
            "__rate_interval": f"{max(step + SCRAPE_S, 4 * SCRAPE_S)}s",
            **self.values,
        }

        def value(found: re.Match[str]) -> str:
            return values[found[1] or found[2]]

        return re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, text)


def every_value(board: Mapping[str, Any], one: Mapping[str, str]) -> dict[str, str]:
    """Return the variables' values with all chosen, or ``one`` where only one can be."""
    found = {}
    for each in board["templating"]["list"]:
        if each["type"] != "datasource":
            known = each.get("allValue") if each.get("includeAll") else each["current"].get("value")
            found[each["name"]] = known or one[each["name"]]
    return found


def one_value(board: Mapping[str, Any], one: Mapping[str, str]) -> dict[str, str]:
    """Return the variables' values with one chosen of each."""
    found = every_value(board, one)
    for each in board["templating"]["list"]:
        if each.get("multi"):
            found[each["name"]] = escaped(one[each["name"]])
    return found


def escaped(value: str) -> str:
    """Return a chosen value as Grafana puts it into a query: a regular expression in quotes."""
    return re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value)


class Stores:
    """Asks Prometheus, Loki and Jaeger what Grafana's data sources ask them."""

    def __init__(self, prometheus: str, loki: str, jaeger: str) -> None:
        self._urls = {"prometheus": prometheus, "loki": loki, "jaeger": jaeger}

    def ask(self, asked: Asked, shown: Shown) -> list[Any]:
        """Return the series that have a number, the streams that have a line, or the traces."""
        return getattr(self, f"_ask_{asked.store}")(asked.query, shown)  # type: ignore[no-any-return]

    def values(self, query: str, shown: Shown) -> list[str]:
        """Return what a variable's `label_values(selector, label)` gives."""
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()  # type: ignore[union-attr]
        question = {"match[]": shown.put_into(selector), "start": shown.start, "end": shown.end}
        found: list[str] = self.get("prometheus", f"/api/v1/label/{label}/values", question)["data"]
        return found

    def _ask_prometheus(self, query: Mapping[str, Any], shown: Shown) -> list[Any]:
        question: dict[str, Any] = {"query": shown.put_into(query["expr"])}
        if query["instant"]:
            question["time"] = shown.end
            data = self.get("prometheus", "/api/v1/query", question)["data"]
            values = [(each, [each["value"]]) for each in data["result"]]
        else:
            question |= {"start": shown.start, "end": shown.end, "step": shown.step}
            data = self.get("prometheus", "/api/v1/query_range", question)["data"]
            values = [(each, each["values"]) for each in data["result"]]
        return [each for each, pairs in values if any(isfinite(float(v)) for _, v in pairs)]

    def _ask_loki(self, query: Mapping[str, Any], shown: Shown) -> list[Any]:
        question = {
            "query": shown.put_into(query["expr"]),
            "start": int(shown.start * 1e9),
            "end": int(shown.end * 1e9),
            "step": shown.step,
            "limit": query.get("maxLines", 100),
        }
        result: list[Any] = self.get("loki", "/loki/api/v1/query_range", question)["data"]["result"]
        return result

    def _ask_jaeger(self, query: Mapping[str, Any], shown: Shown) -> list[Any]:
        tags = dict(each.split("=", 1) for each in query["tags"].split())
        question = {
            "service": shown.put_into(query["service"]),
            "tags": json.dumps(tags),
            "limit": query["limit"],
            "start": int(shown.start * 1e6),
            "end": int(shown.end * 1e6),
            "minDuration": shown.put_into(query["minDuration"]),
        }
        found: list[Any] = self.get("jaeger", "/api/traces", question)["data"]
        return found

    def exemplars(self, expr: str, shown: Shown) -> list[Any]:
        """Return the series that have exemplars."""
        question = {"query": shown.put_into(expr), "start": shown.start, "end": shown.end}
        found: list[Any] = self.get("prometheus", "/api/v1/query_exemplars", question)["data"]
        return found

    def get(self, store: str, path: str, question: Mapping[str, Any]) -> Any:
        """Return the JSON of an answer. Raises `AssertionError` with what a store says is wrong."""
        try:
            with urlopen(f"{self._urls[store]}{path}?{urlencode(question)}", timeout=30) as answer:
                return json.load(answer)
        except HTTPError as error:
            raise AssertionError(f"{question}: {error.read().decode()}") from None

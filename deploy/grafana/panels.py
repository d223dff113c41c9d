"""Panels of Grafana's dashboards, as plain dictionaries.

Every function returns what stands in the JSON, with what all of ours have in common filled in. A
panel's place is not its own affair: `layout.board` sets the rows one below the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from deploy.grafana.questions import Json, loki, prom

OBJECTIVE_S: Final = 0.2
"""A query's time that 95 of 100 are to stay below; one of the histogram's boundaries."""
TARGET: Final = 0.95

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"


def steps(*limits: tuple[str, float]) -> Json:
    """Return thresholds: the first colour from the start, each other one from its value on."""
    (first, _), *others = limits
    colours: list[Json] = [{"color": first, "value": None}]
    colours += [{"color": colour, "value": value} for colour, value in others]
    return {"mode": "absolute", "steps": colours}


NO_STEPS: Final = steps((GREEN, 0))
OF_LATENCY: Final = steps((GREEN, 0), (YELLOW, OBJECTIVE_S / 2), (RED, OBJECTIVE_S))
OF_NONE: Final = steps((GREEN, 0), (RED, 1e-9))
"""Green while there are none."""


def _panel(
    kind: str,
    title: str,
    description: str,
    targets: Sequence[Json],
    defaults: Json,
    options: Json,
    overrides: Sequence[Json] = (),
) -> Json:
    letters = "ABCDEFGH"
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": targets[0]["datasource"],
        "targets": [{"refId": letters[n], **target} for n, target in enumerate(targets)],
        "fieldConfig": {"defaults": defaults, "overrides": list(overrides)},
        "options": options,
    }


def stat(
    title: str,
    description: str,
    expr: str,
    *,
    unit: str = "short",
    limits: Json = NO_STEPS,
    decimals: int | None = None,
    each: str = "",
    names: Json | None = None,
) -> Json:
    """Return a number, or (``each``: a legend) a number for each series, as it is now."""
    defaults: Json = {"unit": unit, "thresholds": limits, "color": {"mode": "thresholds"}}
    defaults |= {} if decimals is None else {"decimals": decimals}
    defaults |= {} if names is None else {"mappings": [{"type": "value", "options": names}]}
    options = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background" if names else "value",
        "graphMode": "none" if each else "area",
        "textMode": "value_and_name" if each else "auto",
        "justifyMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
    }
    return _panel("stat", title, description, [prom(expr, each)], defaults, options)


def series(
    title: str,
    description: str,
    *targets: Json,
    unit: str = "short",
    limits: Json | None = None,
    stacked: bool = False,
    bars: bool = False,
    least: float | None = 0,
    most: float | None = None,
    overrides: Sequence[Json] = (),
) -> Json:
    """Return curves over time; ``limits`` are drawn as lines across."""
    custom: Json = {
        "drawStyle": "bars" if bars else "line",
        "lineWidth": 1,
        "fillOpacity": 60 if bars else 20 if stacked else 8,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if limits else "off"},
    }
    defaults: Json = {
        "unit": unit,
        "custom": custom,
        "color": {"mode": "palette-classic"},
        "thresholds": limits or NO_STEPS,
    }
    defaults |= {} if least is None else {"min": least}
    defaults |= {} if most is None else {"max": most}
    options = {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["mean", "max", "lastNotNull"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel("timeseries", title, description, targets, defaults, options, overrides)


DASHED: Final[Json] = {
    "matcher": {"id": "byRegexp", "options": "/^most /"},
    "properties": [
        {"id": "custom.fillOpacity", "value": 0},
        {"id": "custom.lineStyle", "value": {"dash": [8, 6], "fill": "dash"}},
    ],
}
"""The curves of limits, whose names begin with ``most``."""


def painted(name: str, colour: str) -> Json:
    """Return the override that gives the curve of a name its colour."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
    }


def states(title: str, description: str, expr: str, legend: str, names: Json) -> Json:
    """Return a line per series that shows by its colour which state it was in, and when."""
    defaults = {
        "mappings": [{"type": "value", "options": names}],
        "color": {"mode": "thresholds"},
        "thresholds": steps((RED, 0), (GREEN, 1)),
        "custom": {"fillOpacity": 70, "lineWidth": 0},
    }
    options = {
        "mergeValues": True,
        "showValue": "never",
        "alignValue": "left",
        "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "single", "sort": "none"},
    }
    return _panel("state-timeline", title, description, [prom(expr, legend)], defaults, options)


def heatmap(title: str, description: str, expr: str) -> Json:
    """Return how many values of a histogram lay between which boundaries, over time."""
    asked = prom(expr, "{{le}}", exemplars=True) | {"format": "heatmap"}
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "fill": "dark-orange"},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
    }
    defaults = {"custom": {"hideFrom": {"legend": False, "tooltip": False, "viz": False}}}
    return _panel("heatmap", title, description, [asked], defaults, options)


@dataclass(frozen=True)
class Column:
    """A column of numbers in a table: its name, the query it comes from, and its unit."""

    name: str
    expr: str
    unit: str = "short"
    limits: Json | None = None
    decimals: int | None = None
    names: Json | None = None
    bar: bool = False


def table(
    title: str, description: str, by: dict[str, str], columns: Sequence[Column], order: str
) -> Json:
    """Return a table: a row for each set of the labels ``by``, whose values name the columns.

    It is sorted by the column ``order``, the largest first.
    """
    letters = [chr(ord("A") + number) for number in range(len(columns))]
    shown = {f"Value #{letter}": each.name for letter, each in zip(letters, columns, strict=True)}
    names = by | shown
    if len(columns) == 1:
        names["Value"] = columns[0].name
    options = {
        "showHeader": True,
        "cellHeight": "sm",
        "sortBy": [{"displayName": order, "desc": True}],
    }
    built = _panel(
        "table",
        title,
        description,
        [prom(each.expr, now=True) for each in columns],
        {"custom": {"align": "auto", "filterable": True}, "thresholds": NO_STEPS},
        options,
        [_override(each) for each in columns],
    )
    built["transformations"] = [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True},
                "indexByName": {name: number for number, name in enumerate(names)},
                "renameByName": names,
            },
        },
    ]
    return built


def _override(column: Column) -> Json:
    said: list[Json] = [{"id": "unit", "value": column.unit}]
    if column.decimals is not None:
        said.append({"id": "decimals", "value": column.decimals})
    if column.limits is not None:
        said.append({"id": "thresholds", "value": column.limits})
        said.append({"id": "custom.cellOptions", "value": {"type": "color-text"}})
    if column.names is not None:
        said.append({"id": "mappings", "value": [{"type": "value", "options": column.names}]})
        said.append({"id": "custom.cellOptions", "value": {"type": "color-background"}})
    if column.bar:
        said.append({"id": "custom.cellOptions", "value": {"type": "gauge", "mode": "basic"}})
    return {"matcher": {"id": "byName", "options": column.name}, "properties": said}


def logs(title: str, description: str, expr: str) -> Json:
    """Return log lines, the latest first; each opens to its fields and the way to its trace."""
    options = {
        "showTime": True,
        "wrapLogMessage": True,
        "enableLogDetails": True,
        "sortOrder": "Descending",
        "dedupStrategy": "none",
        "prettifyLogMessage": False,
        "showCommonLabels": False,
        "showLabels": False,
    }
    return _panel("logs", title, description, [loki(expr)], {}, options)


def traces(title: str, description: str, asked: Json) -> Json:
    """Return a table of traces; a click opens one."""
    defaults = {"custom": {"align": "auto"}}
    return _panel("table", title, description, [asked], defaults, {"showHeader": True})

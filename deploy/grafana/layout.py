"""Whole dashboards: rows of panels, the choices at the top, marks across all curves, links."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from deploy.grafana.questions import SOURCES, Json, source_of

WIDTH: Final = 24
_TAG: Final = "otel-dbevents"


def linked(panel: Json, title: str, to: str) -> Json:
    """Return the panel with a link to another of our dashboards, variables and time kept."""
    url = f"/d/{to}?${{__url_time_range}}&${{__all_variables}}"
    return panel | {"links": [_link("link", title, url)]}


@dataclass(frozen=True)
class Row:
    """Panels side by side, under a heading or without one. ``widths``: of 24; else equal."""

    panels: Sequence[Json]
    title: str = ""
    height: int = 8
    widths: Sequence[int] = ()


def variable(name: str, label: str, query: str, *, every: str = ".*", multi: bool = True) -> Json:
    """Return a choice among a label's values; of several or all (``every``), or of one."""
    found: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": source_of("prometheus"),
        "query": {"qryType": 1, "query": query, "refId": name},
        "definition": query,
        "refresh": 2,  # with the time range
        "sort": 1,
        "multi": multi,
        "includeAll": multi,
        "options": [],
        "current": {"text": ["All"], "value": ["$__all"]} if multi else {},
    }
    return found | ({"allValue": every} if multi else {})


def choice(name: str, label: str, values: Sequence[str], value: str) -> Json:
    """Return a choice among fixed values."""
    options = [{"text": each, "value": each, "selected": each == value} for each in values]
    return {
        "type": "custom",
        "name": name,
        "label": label,
        "query": ",".join(values),
        "options": options,
        "current": {"text": value, "value": value},
        "multi": False,
        "includeAll": False,
    }


def sources() -> list[Json]:
    """Return the choices of the three data sources."""
    return [
        {"type": "datasource", "name": kind, "label": kind.title(), "query": kind, "current": {}}
        | {"hide": 0, "multi": False, "includeAll": False, "options": [], "refresh": 1}
        for kind in SOURCES
    ]


def marks(name: str, colour: str, expr: str, title: str, text: str) -> Json:
    """Return an annotation: a line across all curves wherever Loki has such a record."""
    return {
        "name": name,
        "datasource": source_of("loki"),
        "enable": True,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": title,
        "textFormat": text,
        "tagKeys": "service_name",
        "target": {"refId": "Anno", "expr": expr, "queryType": "range", "maxLines": 200},
    }


def board(
    uid: str,
    title: str,
    description: str,
    rows: Sequence[Row],
    variables: Sequence[Json],
    annotations: Sequence[Json] = (),
) -> Json:
    """Return a whole dashboard."""
    return {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [_TAG],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one crosshair for all
        "refresh": "30s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "fiscalYearStartMonth": 0,
        "links": [_link("dashboards", "Database dashboards", tags=[_TAG])],
        "annotations": {"list": list(annotations)},
        "templating": {"list": [*sources(), *variables]},
        "panels": list(_placed(rows)),
    }


def _link(kind: str, title: str, url: str = "", tags: Sequence[str] = ()) -> Json:
    return {
        "type": kind,
        "title": title,
        "url": url,
        "tags": list(tags),
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "external link",
        "tooltip": "",
    }


def _placed(rows: Sequence[Row]) -> Iterator[Json]:
    number, top = 1, 0
    for row in rows:
        if row.title:
            place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
            yield {"id": number, "type": "row", "title": row.title, "collapsed": False} | {
                "gridPos": place,
                "panels": [],
            }
            number, top = number + 1, top + 1
        left = 0
        widths = row.widths or [WIDTH // len(row.panels)] * len(row.panels)
        for panel, width in zip(row.panels, widths, strict=True):
            place = {"x": left, "y": top, "w": width, "h": row.height}
            yield {"id": number, **panel, "gridPos": place}
            number, left = number + 1, left + width
        top += row.height

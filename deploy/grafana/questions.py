"""Questions to the three stores, as they stand in a dashboard's JSON."""

from typing import Any, Final, TypeAlias

Json: TypeAlias = dict[str, Any]
SOURCES: Final = ("prometheus", "loki", "jaeger")


def source_of(kind: str) -> Json:
    """Return the source that is chosen at the top of the dashboard."""
    return {"type": kind, "uid": f"${{{kind}}}"}


def prom(expr: str, legend: str = "", *, exemplars: bool = False, now: bool = False) -> Json:
    """Return a query of Prometheus: over the time shown, or (``now``) one value per series."""
    return {
        "datasource": source_of("prometheus"),
        "expr": expr,
        "legendFormat": legend or "__auto",
        "exemplar": exemplars,
        "instant": now,
        "range": not now,
        "format": "table" if now and not legend else "time_series",
    }


def counted(series: str, window: str = "$__range") -> str:
    """Return what a counter has grown by in a window; one that is new counts whole.

    ``increase`` alone does not see what a counter had when it first came: all that a short job did,
    and the first failure of a kind.
    """
    new = f"last_over_time({series}[{window}]) unless {series} offset {window}"
    return f"({new} or increase({series}[{window}]))"


def loki(expr: str, legend: str = "", lines: int = 100) -> Json:
    """Return a query of Loki: of log lines, or of numbers over time where it has a ``legend``."""
    how: Json = {"legendFormat": legend} if legend else {"maxLines": lines}
    return {"datasource": source_of("loki"), "expr": expr, "queryType": "range"} | how


def jaeger(service: str, tags: str = "", longer_than: str = "", limit: int = 20) -> Json:
    """Return a search of Jaeger's for traces. ``tags``: ``key=value`` with spaces between."""
    return {
        "datasource": source_of("jaeger"),
        "queryType": "search",
        "service": service,
        "tags": tags,
        "minDuration": longer_than,
        "limit": limit,
    }

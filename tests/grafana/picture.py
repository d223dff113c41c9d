"""Pictures of the dashboards, drawn by us from their JSON and the real answers of a real run.

    python -m tests.grafana.picture docs

It writes docs/dashboard-overview.svg and two more. They are no pictures of Grafana: the panels,
questions, units and thresholds are the dashboards' own, the numbers are what Prometheus and Loki
answer, and the drawing is ours (`tests.grafana.drawing`).
"""

import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.grafana import drawing
from tests.grafana.asking import DASHBOARDS, Asked, Shown, Stores, every_value, load
from tests.grafana.drawing import Answer, Box, text
from tests.grafana.stack import stack

BOARDS = ("overview", "queries", "pool")
SECONDS, POINTS = 150, 50
CELL, ROW, GAP, TOP = 50, 34, 6, 52
WIDTH = 24 * CELL + 2 * GAP
STYLE = """
svg { --ground: #111217; --panel: #181b1f; --edge: #2c2f36; --text: #d5d9e0; --faint: #8e95a0; }
@media (prefers-color-scheme: light) {
  svg { --ground: #f4f5f5; --panel: #ffffff; --edge: #dcdee2; --text: #24292e; --faint: #6b7280; }
}
.ground { fill: var(--ground); } .panel { fill: var(--panel); stroke: var(--edge); }
.text { fill: var(--text); } .faint { fill: var(--faint); } .grid { stroke: var(--edge); }
.code { fill: var(--text); font-family: ui-monospace, Menlo, Consolas, monospace; }
"""


def svg_of(board: Mapping[str, Any], stores: Stores, shown: Shown) -> str:
    """Draw a dashboard as it is now."""
    height = TOP + max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in board["panels"]) * ROW + 30
    said = "the dashboard's own panels and questions, a real run's answers; not drawn by Grafana"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"'
        ' font-family="system-ui, sans-serif">',
        f"<title>{board['title']}</title><style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>',
        text(14, 33, board["title"], size=19),
        *(line for panel in board["panels"] for line in _drawn(panel, stores, shown)),
        text(14, height - 12, f"Drawn by `python -m tests.grafana.picture`: {said}.", "faint", 11),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _drawn(panel: Mapping[str, Any], stores: Stores, shown: Shown) -> Iterator[str]:
    place = panel["gridPos"]
    x, y = GAP + place["x"] * CELL, TOP + place["y"] * ROW
    wide, tall = place["w"] * CELL - GAP, place["h"] * ROW - GAP
    if panel["type"] == "row":
        yield text(x + 4, y + 22, panel["title"], size=15)
        return
    yield f'<rect class="panel" x="{x}" y="{y}" width="{wide}" height="{tall}" rx="3"/>'
    yield text(x + 8, y + 19, panel["title"], size=13)
    yield from _contents(panel, stores, shown, Box(x, y + 30, wide, tall - 34))


def _contents(panel: Mapping[str, Any], stores: Stores, shown: Shown, box: Box) -> Iterator[str]:
    kind = panel["type"]
    if kind == "logs":
        found = stores.ask(Asked("", "loki", panel["targets"][0]), shown)
        records = sorted((value for each in found for value in each["values"]), reverse=True)
        yield from drawing.lines([" ".join(line.split()) for _, line in records], box)
    elif kind == "table":
        yield from drawing.table(panel, *_table(panel, stores, shown), box)
    else:
        draw = {
            "stat": drawing.stat,
            "timeseries": drawing.series,
            "state-timeline": drawing.states,
            "heatmap": drawing.heatmap,
        }[kind]
        yield from draw(panel, list(_answers(panel, stores, shown)), box)


def _answers(panel: Mapping[str, Any], stores: Stores, shown: Shown) -> Iterator[Answer]:
    for target in panel["targets"]:
        for each in stores.ask(Asked("", "prometheus", target), shown):
            name = target["legendFormat"]
            for label, value in each["metric"].items():
                name = name.replace("{{" + label + "}}", value)
            points = [(float(at), float(value)) for at, value in each["values"]]
            yield Answer(name.split("{{")[0].strip(), each["metric"], points)


def _table(
    panel: Mapping[str, Any], stores: Stores, shown: Shown
) -> tuple[list[str], list[list[Any]]]:
    """Do what the panel's transformations do: merge by labels, rename, and sort."""
    names = panel["transformations"][1]["options"]["renameByName"]
    labels = [label for label in names if not label.startswith("Value")]
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    numbers = [name for key, name in names.items() if key.startswith("Value #")]
    for target, column in zip(panel["targets"], numbers, strict=True):
        for each in stores.ask(Asked("", "prometheus", target), shown):
            key = tuple(each["metric"].get(label, "") for label in labels)
            rows.setdefault(key, {})[column] = float(each["value"][1])
    (order,) = panel["options"]["sortBy"]
    columns = [names[label] for label in labels] + numbers
    missing = float("nan")
    found = [[*key, *(row.get(name, missing) for name in numbers)] for key, row in rows.items()]
    at = columns.index(order["displayName"])
    found.sort(key=lambda row: row[at] if row[at] == row[at] else -1.0, reverse=order["desc"])
    return columns, found


def main(directory: Path) -> None:
    """Run all that there is for a while, and draw."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was started ends
    with tempfile.TemporaryDirectory() as work, stack(Path(work), SECONDS + 60) as running:
        time.sleep(SECONDS)
        stores = Stores(running.prometheus, running.loki, running.jaeger)
        for name in BOARDS:
            board = load(DASHBOARDS / f"{name}.json")
            # The first seconds are the start: what is slow then is slow once.
            shown = Shown(running.started + 10, time.time(), every_value(board, {}), POINTS)
            (directory / f"dashboard-{name}.svg").write_text(svg_of(board, stores, shown))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

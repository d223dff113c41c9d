"""Prometheus with the project's own scrape configuration, and its query API."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import PROMETHEUS, REPOSITORY, require
from tests.services.web import answers, get, get_json


@dataclass(frozen=True)
class Sample:
    """One series of an instant query and its value."""

    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Exemplar:
    """One exemplar: the series it belongs to, its own labels (trace_id, span_id), its value."""

    series: dict[str, str]
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus that scrapes every second."""

    process: Process
    url: str

    def query(self, promql: str) -> list[Sample]:
        """Return the samples of an instant query that gives a vector."""
        result = self._ask("query", query=promql)["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in result]

    def exemplars(self, promql: str) -> list[Exemplar]:
        """Return the exemplars stored for the series that a selector names."""
        found = self._ask("query_exemplars", query=promql, start="0", end="4102444800")
        return [
            Exemplar(series["seriesLabels"], each["labels"], float(each["value"]))
            for series in found
            for each in series["exemplars"]
        ]

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire, inhibited ones too."""
        alerts = self._ask("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def alerts(self, name: str) -> list[dict[str, Any]]:
        """Return the alerts of that name, with labels, annotations and state."""
        found = self._ask("alerts")["alerts"]
        return [each for each in found if each["labels"]["alertname"] == name]

    def up(self) -> dict[str, bool]:
        """Whether the last scrape succeeded, by target address."""
        targets = self._ask("targets", state="active")["activeTargets"]
        return {each["labels"]["instance"]: each["health"] == "up" for each in targets}

    def everything(self) -> bytes:
        """Return all series with all labels, and all exemplars, unparsed."""
        series = get(f"{self.url}/api/v1/series", **{"match[]": '{__name__=~".+"}'})
        exemplars = f"{self.url}/api/v1/query_exemplars"
        return series + get(exemplars, query='{__name__=~".+"}', start="0", end="4102444800")

    def _ask(self, what: str, **question: str) -> Any:
        answer = get_json(f"{self.url}/api/v1/{what}", question)
        assert answer["status"] == "success", answer
        return answer["data"]


RULES = REPOSITORY / "deploy" / "prometheus" / "rules"
_DURATION = re.compile(
    r"(?<=\[)(\d+)([smhd])(?=\])"
    r"|(?<=offset )(\d+)([smhd])\b"
    r"|(?<=for: )(\d+)([smhd])$"
    r"|(?<=interval: )(\d+)([smhd])$"
    r"|(?<=group_wait: )(\d+)([smhd])$",
    re.MULTILINE,
)
_SECONDS = re.compile(r"(?<=_seconds\n)( +expr: vector)\((\d+)\)")
_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def shortened(text: str, times: int, hours: int = 0) -> str:
    """Return rules or an Alertmanager's configuration with all durations so many times shorter.

    These are ranges, offsets, `for`, what ends in `interval` or is `group_wait`, and a threshold in
    seconds; no other letter of it is changed, names such as `increase5m` among them. Hours and days
    are `hours` times shorter, where that is given.
    """

    def shorter(found: re.Match[str]) -> str:
        number, unit = (part for part in found.groups() if part)
        by = hours if hours and unit in "hd" else times
        return f"{int(number) * _MS[unit] // by}ms"

    def fewer(found: re.Match[str]) -> str:
        return f"{found[1]}({int(found[2]) / times:g})"

    return _SECONDS.sub(fewer, _DURATION.sub(shorter, text))


@contextmanager
def prometheus(
    directory: Path,
    collector: str,
    collector_itself: str,
    sidecar: str = "",
    *,
    alertmanager: str = "",
    times: int = 1,
    hours: int = 0,
) -> Iterator[Prometheus]:
    """Run Prometheus with deploy/prometheus/prometheus.yml, but these targets, each second.

    Its rules are those beside it, with durations so many `times` shorter (`shortened`); then it
    scrapes and evaluates twice a second.
    """
    binary = require(PROMETHEUS)
    config = yaml.safe_load((REPOSITORY / "deploy/prometheus/prometheus.yml").read_text())
    often = "1s" if times == 1 else "500ms"
    config["global"] |= {"scrape_interval": often, "evaluation_interval": often}
    (directory / "rules").mkdir()
    for path in RULES.glob("*.yml"):
        (directory / "rules" / path.name).write_text(shortened(path.read_text(), times, hours))
    for each in config["alerting"]["alertmanagers"]:
        each["static_configs"] = [{"targets": [alertmanager] if alertmanager else []}]
    targets = {"collector:8889": collector, "collector:8888": collector_itself}
    for job in config["scrape_configs"]:
        if job.pop("dns_sd_configs", None):
            job["static_configs"] = [{"targets": [sidecar] if sidecar else []}]
            continue
        for static in job["static_configs"]:
            static["targets"] = [targets[target] for target in static["targets"]]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    command = [
        str(binary),
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
    ]
    url = f"http://127.0.0.1:{port}"
    process = Process("prometheus", command, directory, lambda: answers(f"{url}/-/ready"))
    process.start()
    try:
        yield Prometheus(process, url)
    finally:
        process.stop()

"""What a new user sees: the demonstration has run once and ended, and Grafana is opened."""

import time
from typing import Any

import pytest

from tests.e2e.test_demo import play
from tests.grafana.asking import Asked, Shown, Stores, asked, every_value
from tests.grafana.conftest import BOARDS
from tests.services.collector import Collector
from tests.services.jaeger import Jaeger
from tests.services.loki import Loki
from tests.services.process import wait_until
from tests.services.prometheus import Prometheus

pytestmark = pytest.mark.e2e

SERVICE = "demo-in-grafana"


def of_the_time_shown(question: Asked) -> bool:
    """Whether it is no rate, which needs a process that goes on."""
    expr = question.query.get("expr", "")
    return "$__rate_interval" not in expr and "or vector(0)" not in expr


def test_after_the_demonstration_numbers_tables_and_records_are_there(
    collector: Collector, prometheus: Prometheus, loki: Loki, jaeger: Jaeger
) -> None:
    stores = Stores(prometheus.url, loki.url, jaeger.query)
    started = time.time()
    settings = {"OTEL_SERVICE_NAME": SERVICE, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.otlp_grpc}
    play(settings)

    def unanswered() -> list[str]:
        return [where for where, board, query in questions() if not ask(board, query)]

    def ask(board: dict[str, Any], query: Asked) -> list[Any]:
        chosen = every_value(board, {"service": SERVICE}) | {"service": SERVICE}
        return stores.ask(query, Shown(started - 5, time.time(), chosen))

    wait_until(lambda: not unanswered(), why=lambda: "\n".join(unanswered()))


def questions() -> list[tuple[str, dict[str, Any], Asked]]:
    found = [
        (question.where, board, question)
        for name, board in BOARDS.items()
        if name != "sidecar"
        for question in asked(board)
        if of_the_time_shown(question)
    ]
    return [each for each in found if each[0].split(" / ")[1] not in NOT_IN_IT]


NOT_IN_IT = {"Checks that were not well", "Alerts that fire"}

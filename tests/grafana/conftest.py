"""One real run for all dashboards; and what is shown of it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.grafana.asking import Asked, Shown, Stores, asked, boards, every_value, load
from tests.grafana.stack import stack
from tests.services.process import wait_until

ONE = {"environment": "staging", "service": "shop", "database": "app1", "pool": "small"}
"""What is chosen where one of each is."""
WITHIN_S = 150.0


@dataclass(frozen=True)
class Run:
    """A run that goes on, and the stores that it fills."""

    stores: Stores
    started: float

    def shown(self, values: dict[str, str]) -> Shown:
        return Shown(self.started - 5, time.time(), values)

    def answers(self, board: str, question: Asked) -> int:
        """Return how many series, lines or traces there are now, with all values chosen.

        Without `or vector(0)`, which has a number where there is nothing.
        """
        query = dict(question.query)
        if question.store == "prometheus":
            query["expr"] = query["expr"].replace(" or vector(0)", "")
        values = every_value(BOARDS[board], ONE)
        asked_now = Asked(question.where, question.store, query)
        return len(self.stores.ask(asked_now, self.shown(values)))


BOARDS = {path.stem: load(path) for path in boards()}
QUESTIONS = [(name, question) for name, board in BOARDS.items() for question in asked(board)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Run it until everything is answered, or for long enough: the tests say then what is not."""
    with stack(tmp_path_factory.mktemp("grafana"), 600) as running:
        made = Run(Stores(running.prometheus, running.loki, running.jaeger), running.started)
        left = list(QUESTIONS)

        def all_answered() -> bool:
            left[:] = [(name, each) for name, each in left if not made.answers(name, each)]
            return not left

        try:
            wait_until(all_answered, WITHIN_S)
        except TimeoutError:
            print("not answered:", [each.where for _, each in left])
        yield made

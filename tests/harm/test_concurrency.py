"""Many at once: each statement is one span and one count, below the span that it ran under."""

from collections import Counter

import pytest

from tests.harm import crowd
from tests.harm.running import run
from tests.harm.told import Told


def check(told: Told, counted: int, size: int) -> None:
    """Each of the crowd has its statements below its own spans, and nothing is there twice."""
    names = {line["span"]: line["name"] for line in told.spans}
    assert len(names) == len(told.spans)
    below = Counter(
        (line["query"].rpartition(" ")[2], names[line["parent"]].replace(" ", ""))
        for line in told.spans
        if line["query"]
    )
    outer = {(f"outer{n}", f"outer{n}"): crowd.EACH for n in range(size)}
    inner = {(f"inner{n}", f"inner{n}"): 1 for n in range(size)}
    assert below == outer | inner
    parents = {line["name"]: names.get(line["parent"]) for line in told.spans}
    assert {parents[f"inner {n}"] for n in range(size)} == {f"outer {n}" for n in range(size)}
    assert counted == size * (crowd.EACH + 1)


def test_fifty_threads_at_once_are_told_apart(tmp_path, postgresql):
    url = postgresql.url(postgresql.database())
    counted = run("tests.harm.crowd", "threads", url, tmp_path / "told")
    check(Told(tmp_path / "told"), int(counted), crowd.THREADS)


@pytest.mark.parametrize("driver", ["aiosqlite", "asyncpg"])
def test_a_thousand_tasks_at_once_are_told_apart(tmp_path, driver, request):
    if driver == "aiosqlite":
        url = f"sqlite+aiosqlite:///{tmp_path / 'app.db'}"
    else:
        server = request.getfixturevalue("postgresql")
        url = server.url(server.database(), "postgresql+asyncpg")
    counted = run("tests.harm.crowd", "tasks", url, tmp_path / "told")
    check(Told(tmp_path / "told"), int(counted), crowd.TASKS)

"""However a process ends: what it had is sent, and a collector that hangs does not hold it up."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import pytest

from tests.demo.receiver import receiving
from tests.outage.ends import EXPECTED
from tests.outage.hostile import hostile

MAY_TAKE_S = 1.0
GENEROUS_S = 90.0
"""For a machine that has other work."""
EXPORTERS_TAKE_S = 200
"""For so long the SDK's own exporters would wait, and hold up the end."""


HELD_UP = {*EXPECTED} - {"sys_exit", "sigterm", "pool", "result_left_open", "asyncio"}
"""The ends that differ where nothing can be sent."""


class Ended(NamedTuple):
    status: int
    took_s: float
    said: str
    queries: int


def end(how: str, endpoint: str, may_take_s: float = MAY_TAKE_S) -> Ended:
    """Run the application to its end; ``took_s`` is from its last line on."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "COV_", "COVERAGE_"))
    }
    settings = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_TIMEOUT": f"{EXPORTERS_TAKE_S}",
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": f"{may_take_s * 1000:.0f}",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.outage.ends", how],
        env=kept | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        printed, said = process.communicate(timeout=EXPORTERS_TAKE_S + 50)
    finally:
        process.kill()
    assert printed, said
    return Ended(process.returncode, time.monotonic() - float(printed), said, 0)


def answered(how: str) -> Ended:
    """End with a collector that takes all, and is given time."""
    with receiving() as receiver:
        ended = end(how, receiver.endpoint, 60)
        names = [span.name for span in receiver.spans]
    return ended._replace(queries=names.count("SELECT"))


@pytest.fixture(scope="module")
def ends() -> Iterator[dict[tuple[str, str], "Future[Ended]"]]:
    """All the ends there are, a few at a time."""
    with hostile("hanging") as collector, ThreadPoolExecutor(3) as several:
        yield {
            **{("answering", how): several.submit(answered, how) for how in EXPECTED},
            **{("hanging", how): several.submit(end, how, collector.endpoint) for how in HELD_UP},
        }


@pytest.mark.parametrize("how", EXPECTED)
def test_what_the_process_had_is_sent_before_it_ends(
    how: str, ends: dict[tuple[str, str], "Future[Ended]"]
) -> None:
    status, least = EXPECTED[how]
    ended = ends["answering", how].result()
    assert (ended.status, ended.queries >= least) == (status, True), ended
    assert least or not ended.queries, "it ended at once"
    assert "Exception ignored" not in ended.said
    assert "otel_dbevents" not in ended.said


@pytest.mark.parametrize("how", sorted(HELD_UP))
def test_a_collector_that_hangs_does_not_hold_the_end_up(
    how: str, ends: dict[tuple[str, str], "Future[Ended]"]
) -> None:
    ended = ends["hanging", how].result()
    assert ended.status == EXPECTED[how][0], ended
    assert ended.took_s < MAY_TAKE_S + GENEROUS_S, ended
    assert "Exception ignored" not in ended.said

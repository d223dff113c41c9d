"""The benchmark of the way through Redis, in its short form; its ratios are shown, not judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.result import Spread
from benchmarks.sidecar.result import Measured, Pair, Part, Result, row_of, text_of
from benchmarks.sidecar.rounds import Row
from benchmarks.sidecar.shippers import CEILING, SHIPPERS
from benchmarks.sidecar.tellers import SDKS
from benchmarks.turns import ROOT, WrongOutputError, environment
from tests.services import tools


@pytest.mark.newest
def test_the_short_form_measures_both_shares_and_counts_what_came_out(tmp_path: Path) -> None:
    tools.require(tools.REDIS)
    written = tmp_path / "sidecar.json"
    command = ["-m", "benchmarks", "--sidecar", "--short", "--json", str(written)]
    ran = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    tools.announce(f"\n{ran.stdout}")
    shipping, telling = json.loads(written.read_text())["parts"]
    assert [row["name"] for row in shipping["rows"]] == [*SHIPPERS]
    assert [row["name"] for row in telling["rows"]] == [SDKS, "ours", "ours, signed"]
    assert telling["pairs"][0]["by_cpu"] > 0
    size = {row["name"]: row["bytes_in_redis"] for row in shipping["rows"]}
    assert 0 < size["ours, signed"] < 150 < size[CEILING]


def row_of_the_test(name: str) -> Row:
    process = subprocess.Popen(
        [sys.executable, "-c", "print('{}')"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    with process:
        return Row("telling", name, process)


@pytest.mark.parametrize(
    "output",
    [
        {"events": 2, "different": 2, "counted": 3},
        {"events": 3, "different": 2, "counted": 3},
        {"events": 4, "different": 4, "counted": 3},
        {"events": 3, "different": 3, "counted": 2},
    ],
)
def test_a_row_that_did_less_or_more_than_it_should_ends_the_run(output: dict[str, int]) -> None:
    with pytest.raises(WrongOutputError, match="of 3 events came"):
        row_of_the_test("ours").check(3, output)


def test_numbers_that_are_sums_are_counted_from_the_last_round_on() -> None:
    row = row_of_the_test(SDKS)
    for counted in (3, 6):
        row.check(3, {"events": 3, "different": 3, "counted": counted})


def test_a_ratio_is_of_cpu_time_and_the_ceiling_is_one() -> None:
    fast, slow = row_of("fast", [Measured(10, 1, 0)]), row_of("slow", [Measured(40, 1, 7)])
    part = Part("shipping", "fast", [fast, slow], [Pair(slow, fast)])
    assert (part.speed(fast), part.speed(slow)) == (1.0, 0.25)
    assert slow.cpu_ns == Spread(40, 40, 40)
    assert part.pairs[0].by_cpu == 8.0
    result = Result(1, [part], {"Python": "3.11"})
    assert "0.25x" in text_of(result)
    assert json.loads(result.to_json())["parts"][0]["rows"][1]["speed"] == 0.25

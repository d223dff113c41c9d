"""The benchmark in its short form, and the limits that instructions are held to."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.instructions import count
from benchmarks.limits import LIMITS, guarded, held
from benchmarks.result import Result
from benchmarks.scenes import SCENES
from benchmarks.table import text_of
from benchmarks.turns import ROOT, environment
from benchmarks.variants import VARIANTS
from tests.services import tools

pytestmark = pytest.mark.oldest


def test_the_short_form_measures_every_variant_in_every_scene_and_checks_what_came_out(
    tmp_path: Path,
) -> None:
    written, drawn = tmp_path / "cost.json", tmp_path / "cost.svg"
    command = ["-m", "benchmarks", "--short", "--json", str(written), "--chart", str(drawn)]
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
    (table,) = json.loads(written.read_text())["tables"]
    assert [*table["scenes"]] == [*SCENES]
    names = [variant.name for variant in VARIANTS]
    for scene, rows in table["scenes"].items():
        assert [row["variant"] for row in rows] == names, scene
    assert drawn.read_text().startswith("<svg")


def test_what_we_add_is_within_the_limits_in_instructions() -> None:
    tools.require(tools.VALGRIND)
    tools.require(tools.REDIS)
    for _ in range(2):  # memory laid out otherwise may cost a few percent, but not twice
        (counted,) = count(wanted=guarded)
        limits = held(counted)
        tools.announce(f"\n{text_of(Result((counted,), limits))}")
        assert len(limits) == len(LIMITS)
        if all(limit.ok for limit in limits):
            return
    over = [
        f"{limit.what}: {limit.measured:.3f} > {limit.limit}" for limit in limits if not limit.ok
    ]
    pytest.fail(f"over the limit: {over}", pytrace=False)

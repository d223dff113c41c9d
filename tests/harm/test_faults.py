"""Whatever fails in us, the application sees what it would see without us, and we go on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.postgresql import Postgresql

FEWEST = {"pysqlite": 600, "aiosqlite": 350, "psycopg": 350, "asyncpg": 350}
"""So many points there are at the least in what each goes through: else it went through nothing."""


def play(driver: str, url: str, mode: str) -> dict[str, object]:
    """Play the scenario with a fault at each point, in a process of its own, at full speed."""
    played = subprocess.run(
        [sys.executable, "-m", "tests.harm.twins", driver, url, mode],
        env=_at_full_speed(),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert played.returncode == 0, played.stderr[-4_000:]
    told: dict[str, object] = json.loads(played.stdout.splitlines()[-1])
    return told


@pytest.mark.shows  # where there is harm, what the application saw is printed
@pytest.mark.parametrize(
    ("driver", "mode"),
    [
        ("pysqlite", "within, plain"),
        pytest.param("pysqlite", "worker", marks=pytest.mark.newest),
        pytest.param("aiosqlite", "within", marks=pytest.mark.newest),
        pytest.param("psycopg", "within", marks=pytest.mark.newest),
        ("asyncpg", "worker, plain"),
    ],
)
def test_a_fault_at_any_step_changes_nothing_for_the_application_and_we_go_on(
    driver: str, mode: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if driver.endswith("sqlite"):
        scheme = "sqlite" if driver == "pysqlite" else "sqlite+aiosqlite"
        url = f"{scheme}:///{tmp_path / 'app.db'}"
    else:
        server: Postgresql = request.getfixturevalue("postgresql")
        url = server.url(server.database(), f"postgresql+{driver}")
    told = play(driver, url, mode)
    assert told["harm"] == [], json.dumps(told["harm"], indent=1)[:20_000]
    assert int(str(told["points"])) >= FEWEST[driver]


def _at_full_speed() -> dict[str, str]:
    """The environment, without what would have the process measure its coverage."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COVERAGE_", "COV_"))
    }

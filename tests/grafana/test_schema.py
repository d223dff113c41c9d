"""The dashboards against Grafana's own types, of the version that docker-compose.yml runs."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.grafana.asking import boards
from tests.services.tools import NODE, REPOSITORY, require

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

COMPILER = "5.9.3"
HERE = Path(__file__).parent
WRONG = {
    "a_place_that_is_no_number": ('"x": 0', '"x": "left"'),
    "an_option_that_nobody_knows": ('"drawStyle"', '"drawnStyle"'),
    "a_value_that_is_none_of_those": ('"colorMode": "value"', '"colorMode": "loud"'),
    "a_query_with_another_key": ('"legendFormat"', '"legend"'),
}
FLAGS = "--noEmit --strict --skipLibCheck --module esnext --moduleResolution bundler"


def version() -> str:
    """Return the version of Grafana that is run."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    found: str = compose["services"]["grafana"]["image"].rpartition(":")[2]
    return found


@pytest.fixture(scope="module")
def modules() -> Path:
    """Return the folder with Grafana's types and the compiler, fetched once for each version."""
    require(NODE)
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    cache = Path(root).expanduser() / "otel-dbevents"
    cache.mkdir(parents=True, exist_ok=True)
    there = cache / f"grafana-types-{version()}-{COMPILER}"
    with (cache / ".grafana-types.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there.exists():
            fetch(there)
    return there / "node_modules"


def fetch(there: Path) -> None:
    """Install both packages beside their place, and move them there when they are whole."""
    with tempfile.TemporaryDirectory(dir=there.parent) as work:
        packages = [f"@grafana/schema@{version()}", f"typescript@{COMPILER}"]
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", work]
        subprocess.run(["npm", "install", *options, *packages], check=True, capture_output=True)
        shutil.move(work, there)
        Path(work).mkdir()  # for the end of the block


@pytest.fixture(scope="module")
def said(modules: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return what the compiler says of the dashboards, and of what was made wrong in one."""
    directory = tmp_path_factory.mktemp("types")
    (directory / "node_modules").symlink_to(modules)
    shutil.copy(HERE / "checked.ts", directory)
    sources = {path.stem: path.read_text().strip() for path in boards()}
    for name, (right, wrong) in WRONG.items():
        sources[name] = sources["overview"].replace(right, wrong, 1)
    for name, text in sources.items():
        lines = 'import type { Checked } from "./checked";', f"export default {text}"
        (directory / f"{name}.ts").write_text("\n".join(lines) + " satisfies Checked;\n")
    command = ["node", str(modules / "typescript/bin/tsc"), *FLAGS.split()]
    names = [f"{name}.ts" for name in sources]
    done = subprocess.run(
        [*command, *names], cwd=directory, check=False, capture_output=True, text=True
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_grafanas_types_take_every_dashboard(said: list[str]) -> None:
    assert [line for line in said if line.split(".ts(")[0] not in WRONG] == []


@pytest.mark.parametrize("name", WRONG)
def test_grafanas_types_refuse_what_is_wrong(said: list[str], name: str) -> None:
    assert [line for line in said if line.startswith(f"{name}.ts(")]

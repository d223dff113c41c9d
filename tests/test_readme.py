"""The README is true: its Python runs, its settings are the settings, its files are there."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_dbevents.bridge.logs import EVENT_NAMES
from otel_dbevents.config import Config, variable
from otel_dbevents.events import EVENT_TYPES
from tests.sources.engines import DRIVERS

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_its_python_runs(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[number]], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_names_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(OTEL_DBEVENTS_\w+)` \| [^|]+ \| ([^|]+) \|", TEXT, re.MULTILINE))
    settings = {
        variable(name): "not set" if field.default is None else json.dumps(field.default).strip('"')
        for name, field in Config.model_fields.items()
    }
    assert rows == settings


def test_it_names_every_event() -> None:
    missing = [kind.__name__ for kind in EVENT_TYPES if f"`{kind.__name__}`" not in TEXT]
    assert missing == []


def test_the_files_that_it_names_are_there() -> None:
    named = re.findall(r"\]\(([\w./-]+)\)|(?:`|--config |-f )([\w./-]+\.(?:yaml|yml))", TEXT)
    for first, second in named:
        assert (README.parent / (first or second)).exists(), first or second


def test_its_commands_are_targets_of_the_makefile() -> None:
    makefile = (README.parent / "Makefile").read_text()
    for target in re.findall(r"make (\w+)  ", TEXT):
        assert f"\n{target}:" in makefile


def test_the_page_of_meanings_names_every_event_record_and_metric() -> None:
    page = (README.parent / "docs/telemetry.md").read_text()
    records = [name for name in EVENT_NAMES.values() if f"`{name}`" not in page]
    events = [kind.__name__ for kind in EVENT_TYPES if f"`{kind.__name__}`" not in page]
    bridge = README.parent / "otel_dbevents/bridge"
    makers = ("instruments", "status", "objective", "flow")
    source = "".join((bridge / f"{each}.py").read_text() for each in makers)
    metrics = re.findall(r'"((?:db\.client|database|dbevents)\.[\w.]+\w)"', source)
    assert metrics
    assert (events, records, [name for name in metrics if f"`{name}`" not in page]) == ([], [], [])


def test_the_page_of_engines_names_every_driver_and_system_that_the_suite_runs_on() -> None:
    page = (README.parent / "docs/engines.md").read_text()
    missing = [
        name
        for driver in DRIVERS.values()
        for name in (f"{driver.scheme}://", f"`{driver.system}`")
        if name not in page.replace("(sync and async)", "")
    ]
    assert missing == []

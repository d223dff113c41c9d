"""The page on Langfuse is true: its Python runs, what it names is there, and nothing is missing."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from otel_dbevents.bridge import attributes as at
from otel_dbevents.config import Config, Langfuse, variable
from otel_dbevents.llm import keys
from tests.langfuse.server import LangfuseServer

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

PAGE = Path(__file__).parent.parent / "docs/langfuse.md"
TEXT = PAGE.read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
USE = "\nassert tool_may_go_on()\n"


@pytest.mark.parametrize("block", BLOCKS)
def test_its_python_runs(block: str, langfuse: LangfuseServer) -> None:
    code = block + (USE if "def tool_may_go_on" in block else "")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | langfuse.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_names_every_setting_and_no_other() -> None:
    named = set(re.findall(r"OTEL_DBEVENTS_LANGFUSE\w*", TEXT))
    settings = {variable(name) for name in Config.model_fields if name.startswith("langfuse")}
    assert named == settings


def test_it_names_every_mode() -> None:
    assert [mode.value for mode in Langfuse if f"| `{mode.value}`" not in TEXT] == []


def test_it_explains_every_key_of_the_roll_up_and_of_the_cause() -> None:
    shown = [
        value.removeprefix(keys.METADATA)
        for module in (keys, at)
        for value in vars(module).values()
        if isinstance(value, str) and value.startswith(keys.METADATA + "db_")
    ]
    assert len(shown) > 10
    missing = {key for key in shown if f"`{key}`" not in TEXT}
    assert missing == {"db_system", "db_rows"}  # which say what the input and output do


def test_the_files_that_it_names_are_there() -> None:
    beside = re.findall(r"\]\(([\w./-]+)\)", TEXT)
    root = re.findall(r"(?:deploy/|^)[\w/-]+\.(?:yaml|env)\b", TEXT, re.MULTILINE)
    assert beside
    assert root
    assert [name for name in beside if not (PAGE.parent / name).exists()] == []
    assert [name for name in root if not (PAGE.parent.parent / name).exists()] == []

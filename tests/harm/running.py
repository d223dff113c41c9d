"""Programs of our own in processes of their own: at full speed, without coverage or settings."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NOT_OURS = ("COV", "OTEL_", "GUNICORN_", "PYTHONWARNINGS")


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment without what would slow a process down or set it up."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    return {**ours, "PYTHONPATH": str(ROOT), **(settings or {})}


def run(
    module: str, *arguments: object, settings: Mapping[str, str] | None = None, within: float = 120
) -> str:
    """Run a module to its end and return what it printed; what it complained of is in a failure."""
    command = [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)]
    done = subprocess.run(
        command,
        env=environment(settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
    )
    assert done.returncode == 0, f"{module} ended with {done.returncode}:\n{done.stderr[-6000:]}"
    return done.stdout

"""The rules of the house: who may import whom, which names are public, what is shipped."""

import subprocess
import sys
from pathlib import Path

import pytest

import otel_dbevents

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

ROOT = Path(__file__).parents[1]


def test_nobody_imports_what_they_must_not() -> None:
    linted = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports; exit(lint_imports())"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_public_names_are_these() -> None:
    assert otel_dbevents.__all__ == [
        "Config",
        "ConfigError",
        "DatabaseConnectionEstablished",
        "DatabaseConnectionFailed",
        "DatabaseHealthCheckCompleted",
        "DatabaseType",
        "Environment",
        "Event",
        "EventBus",
        "HealthStatus",
        "Pipeline",
        "check_database_health",
        "check_database_health_async",
        "flush",
        "instrument",
        "uninstrument",
    ]
    assert all(hasattr(otel_dbevents, name) for name in otel_dbevents.__all__)


def test_the_core_imports_no_extra() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", "import otel_dbevents, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert not {
        "aiosqlite",
        "rich",
        "redis",
        "langfuse",
        "libsql_client",
        "opentelemetry.instrumentation",
    } & {*listed}


def test_nothing_lies_about_in_the_top_folder() -> None:
    kept = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(kept, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {file.partition("/")[0] for file in files.splitlines()} <= {
        ".ci",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "benchmarks",
        "collector-config.yaml",
        "deploy",
        "docker-compose.yml",
        "docs",
        "examples",
        "otel_dbevents",
        "pyproject.toml",
        "tests",
    }

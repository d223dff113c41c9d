"""Which real programs the tests need, and what happens where one is missing.

One rule, in `require`: on a machine that calls itself CI a missing program is a failure; elsewhere
its tests are skipped, and the end of the run says loudly what was therefore not tested.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "deploy" / "tools" / "build"


@dataclass(frozen=True)
class Tool:
    """A program, what its absence leaves untested, and how to get it."""

    name: str
    untested: str
    mend: str
    programs: tuple[str, ...] = ()
    """Names on the PATH that will do."""
    places: tuple[str, ...] = ()
    """Patterns of paths off the PATH; the last in order wins."""
    built_by: str = ""
    """The program that deploy/tools/build needs to make it; empty where it cannot."""


_GO = "install Go 1.26 or newer; the next run builds it with deploy/tools/build"

COLLECTOR = Tool(
    "otelcol",
    "collector-config.yaml: redaction, delivery after a crash or an outage, Langfuse's filter",
    f"{_GO} (or put otelcol-contrib 0.161 on the PATH)",
    programs=("otelcol-contrib", "otelcol"),
    built_by="go",
)
JAEGER = Tool("jaeger", "traces as Jaeger shows them", _GO, built_by="go")
LOKI = Tool("loki", "log records as Loki shows them", _GO, built_by="go")
COMPOSE = Tool(
    "docker-compose", "docker-compose.yml as Docker Compose reads it", _GO, built_by="go"
)
SQLD = Tool(
    "sqld",
    "libSQL on its real server: its dialect remote and as an embedded replica, and its client",
    "install npm; the next run fetches it with deploy/tools/build",
    built_by="npm",
)
PROMETHEUS = Tool(
    "prometheus",
    "metrics and exemplars as Prometheus shows them",
    "apt-get install prometheus",
    programs=("prometheus",),
)
ALERTMANAGER = Tool(
    "alertmanager",
    "alerts as they reach Slack and Discord, and who is told of which",
    "apt-get install prometheus-alertmanager",
    programs=("prometheus-alertmanager", "alertmanager"),
)
POSTGRESQL = Tool(
    "postgresql",
    "everything on a real PostgreSQL, with psycopg and asyncpg",
    "apt-get install postgresql",
    programs=("initdb",),
    places=("/usr/lib/postgresql/*/bin/initdb",),
)
MARIADB = Tool(
    "mariadb",
    "everything on a real MariaDB, with PyMySQL and asyncmy",
    "apt-get install mariadb-server",
    programs=("mariadbd",),
    places=("/usr/sbin/mariadbd",),
)
REDIS = Tool(
    "redis",
    "the bus on Redis Streams and the sidecar, on a real Redis that is killed and comes back",
    "apt-get install redis-server",
    programs=("redis-server",),
)
OPENSSL = Tool(
    "openssl",
    "the bus over TLS, with certificates made for the test",
    "apt-get install openssl",
    programs=("openssl",),
)
NODE = Tool(
    "node",
    "the health checks of Langfuse's programs",
    "apt-get install nodejs",
    programs=("node",),
)
VALGRIND = Tool(
    "valgrind",
    "the limits on what we add to a statement and a connection, in instructions",
    "apt-get install valgrind",
    programs=("valgrind",),
)

announce: Callable[[str], object] = print
"""Tells whoever waits at the terminal; the plugin puts one here that pytest does not capture."""

missing: dict[str, Tool] = {}
"""What `require` has asked for in vain during this run, by name."""


def require(tool: Tool) -> Path:
    """Return the program's path; without it, fail on CI and skip elsewhere."""
    if path := find(tool):
        return path
    missing[tool.name] = tool
    reason = f"no {tool.name} here, so not tested: {tool.untested}. Mend: {tool.mend}"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@cache
def find(tool: Tool) -> Path | None:
    """Return the pinned build, built now if Go is here, else what the machine has, else None."""
    if tool.built_by and (path := _built(tool)):
        return path
    for program in tool.programs:
        if found := shutil.which(program):
            return Path(found)
    found_places = [path for place in tool.places for path in sorted(Path("/").glob(place[1:]))]
    return found_places[-1] if found_places else None


def _built(tool: Tool) -> Path | None:
    path = Path(_build("--where", tool.name).stdout.strip())
    if path.exists():
        return path
    if shutil.which(tool.built_by) is None:
        return None
    announce(f"\n{tool.name} is not here yet: deploy/tools/build gets it, once")
    done = _build(tool.name)
    if done.returncode:
        announce(f"deploy/tools/build {tool.name} failed:\n{done.stderr[-4000:]}")
        return None
    announce(f"{tool.name} is here: {path}")
    return path


@cache  # a build that failed would fail again, after as many minutes
def _build(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, BUILD, *arguments], check=False, capture_output=True, text=True
    )


def report() -> list[str]:
    """Lines for the end of the run: what was not tested, and how to mend that."""
    return [
        line
        for tool in missing.values()
        for line in (f"{tool.name}: {tool.untested}", f"    mend: {tool.mend}")
    ]

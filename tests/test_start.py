"""What turning it on costs once: memory and modules beyond SQLAlchemy and OpenTelemetry's SDK."""

import json
import os
import subprocess
import sys

_WITHOUT_US = """
import json, os, sys
import sqlalchemy.orm
import opentelemetry.sdk._logs.export
import opentelemetry.sdk.metrics.export
import opentelemetry.sdk.trace.export

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

modules, memory = set(sys.modules), resident()
"""
_TOLD = """
print(json.dumps([resident() - memory, sorted(set(sys.modules) - modules)]))
"""
ALLOWED = {
    "annotated_types",
    "dotenv",  # pydantic-settings brings it
    "msgspec",
    "opentelemetry",
    "otel_dbevents",
    "pydantic",
    "pydantic_core",
    "pydantic_settings",
    "typing_extensions",
    "typing_inspection",
}


def uncovered() -> dict[str, str]:
    """Return an environment in which a process is as it would be without the coverage's tracer."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def started(code: str) -> tuple[int, set[str]]:
    """Return the bytes that ``code`` adds to a process, and the modules that are not Python's."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_US + code + _TOLD],
        env=uncovered(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    memory, modules = json.loads(done.stdout)
    tops = {module.partition(".")[0] for module in modules}
    return memory, tops - set(sys.stdlib_module_names)


def test_turning_it_on_takes_17_megabytes_at_most_and_imports_no_more_than_this() -> None:
    memory, modules = started("import otel_dbevents; otel_dbevents.instrument()")
    assert memory < 17 * 1024 * 1024
    assert {name for name in modules if not name.startswith("_")} <= ALLOWED


def test_importing_the_package_alone_imports_nothing_else() -> None:
    _, modules = started("import otel_dbevents")
    assert modules == {"otel_dbevents"}


def test_what_only_some_need_is_not_imported() -> None:
    """What is for errors of libSQL, for exports, for commands."""
    done = subprocess.run(
        [sys.executable, "-c", "import otel_dbevents.pipeline, sys; print(*sys.modules)"],
        env=uncovered(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not {"sqlite3", "grpc", "requests", "rich", "asyncpg"} & set(done.stdout.split())

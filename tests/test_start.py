"""What turning it on costs once: memory and modules beyond SQLAlchemy and OpenTelemetry's SDK."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import NamedTuple

import pytest

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
ALLOWED_BYTES = 15 * 2**20
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
FOR_SOME = (
    "asyncpg",
    "difflib",  # for a setting's name that is wrong
    "email",  # the standard library would read a package's version with it
    "grpc",
    "opentelemetry.propagate",
    "otel_dbevents.bus.limiter",
    "otel_dbevents.bus.redis",
    "otel_dbevents.codec",
    "otel_dbevents.event_log",
    "otel_dbevents.exporters.outbox",
    "otel_dbevents.exporters.providers",
    "otel_dbevents.health.recovery",
    "otel_dbevents.json_logs",
    "otel_dbevents.langfuse",
    "otel_dbevents.shipping",
    "otel_dbevents.sources.explain.explainer",
    "otel_dbevents.sources.explain.plan",
    "otel_dbevents.sources.libsql.calls",
    "otel_dbevents.sources.libsql.wrapping",
    "redis",
    "requests",
    "rich",
    "sqlite3",
)
"""What belongs to a wish of the settings, to a package or to a mistake: with its module's name."""

_NOTED_IMPORTS = """
import sys, threading
from importlib.abc import MetaPathFinder

class Noting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.startswith("otel_dbevents") and threading.current_thread().name == "MainThread":
            print(name)

sys.meta_path.insert(0, Noting())
"""
_QUERIES = """
from contextlib import suppress
import sqlalchemy as sa

url = f"sqlite:///{sys.argv[1]}"
engine = sa.create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.01)
shop = sa.Table("shop", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True))
shop.create(engine)
with engine.begin() as connection:
    connection.execute(shop.insert().returning(shop.c.id), [{"id": n} for n in range(9)])
    connection.execute(shop.insert(), [{"id": n} for n in range(10, 19)])
    for _ in range(12):
        connection.execute(shop.select().where(shop.c.id > 3)).all()
    with suppress(sa.exc.TimeoutError):
        engine.connect()
with engine.connect() as connection, suppress(sa.exc.DatabaseError):
    connection.exec_driver_sql("SELECT nothing FROM nowhere")
with suppress(sa.exc.DatabaseError):
    sa.create_engine("sqlite:////nowhere/at/all").connect()
engine.dispose()
"""


class Started(NamedTuple):
    """What some code added to a process."""

    memory: int
    """Bytes."""
    modules: set[str]


def run(code: str, *arguments: str) -> str:
    """Run code in a process without the coverage's tracer, which keeps what it compiles."""
    without = ("COV", "OTEL_", "PYTHONDONTWRITEBYTECODE")
    environment = {name: at for name, at in os.environ.items() if not name.startswith(without)}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def started(code: str) -> Started:
    memory, modules = json.loads(run(_WITHOUT_US + code + _TOLD))
    return Started(memory, set(modules))


def packages_of(modules: set[str]) -> set[str]:
    """Return the packages that are not Python's own."""
    tops = {module.partition(".")[0] for module in modules} - set(sys.stdlib_module_names)
    return {name for name in tops if not name.startswith("_")}


@pytest.fixture(scope="module")
def turned_on() -> Started:
    """Turn it on in a process that compiles nothing: one before it has."""
    code = "import otel_dbevents; otel_dbevents.instrument()"
    run(code)
    return started(code)


def test_turning_it_on_takes_15_megabytes_at_most(turned_on: Started) -> None:
    assert turned_on.memory <= ALLOWED_BYTES


def test_turning_it_on_imports_no_other_package_than_these(turned_on: Started) -> None:
    assert packages_of(turned_on.modules) <= ALLOWED


def test_what_only_some_need_is_not_imported(turned_on: Started) -> None:
    assert sorted(turned_on.modules & set(FOR_SOME)) == []


@pytest.mark.parametrize("name", [name for name in FOR_SOME if "otel" in name])
def test_what_only_some_need_is_there_to_be_imported(name: str) -> None:
    """Else the list above would hold what nobody could import."""
    assert find_spec(name) is not None


def test_importing_the_package_alone_imports_nothing_else() -> None:
    assert packages_of(started("import otel_dbevents").modules) == {"otel_dbevents"}


def test_no_query_imports_anything_of_ours(tmp_path: object) -> None:
    """However it goes, and with all that can be asked for: an import would be a stall in it."""
    config = "slow_query_ms=0.000001, explain_slow_queries=True, event_log='stderr', recovery=True"
    turn_on = (
        "import otel_dbevents\n"
        f"otel_dbevents.instrument(config=otel_dbevents.Config({config}, rate_limit='*=9/s'))\n"
    )
    assert run(turn_on + _NOTED_IMPORTS + _QUERIES, f"{tmp_path}/shop.db") == ""

"""The fixtures, and the section at the end of a run that says what was not tested.

Loaded by `pytest_plugins = ["tests.services.plugin"]` in the top conftest.py.
"""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.services import tools
from tests.services.collector import Collector
from tests.services.collector import collector as run_collector
from tests.services.jaeger import Jaeger
from tests.services.jaeger import jaeger as run_jaeger
from tests.services.loki import Loki
from tests.services.loki import loki as run_loki
from tests.services.mariadb import Mariadb
from tests.services.mariadb import mariadb as run_mariadb
from tests.services.postgresql import Postgresql
from tests.services.postgresql import postgresql as run_postgresql
from tests.services.prometheus import Prometheus
from tests.services.prometheus import prometheus as run_prometheus
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis
from tests.services.sqld import Sqld
from tests.services.sqld import sqld as run_sqld


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """Run a PostgreSQL for all tests; `postgresql.database()` makes an empty database in it."""
    with run_postgresql() as running:
        yield running


@pytest.fixture(scope="session")
def _mortal_postgresql() -> Iterator[Postgresql]:
    with run_postgresql() as running:
        yield running


@pytest.fixture
def mortal_postgresql(_mortal_postgresql: Postgresql) -> Iterator[Postgresql]:
    """Give a PostgreSQL that may be killed and stopped; it is there again for the next test."""
    yield _mortal_postgresql
    _mortal_postgresql.process.send(signal.SIGCONT)
    _mortal_postgresql.process.start()


@pytest.fixture
def sqld(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sqld]:
    """Run a libSQL server for one test: it has one database, and starts at once."""
    with run_sqld(tmp_path_factory.mktemp("sqld")) as running:
        yield running


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """Run a Redis for all tests: let every test have a stream of its own. Do not kill this one."""
    with run_redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Mariadb]:
    """Run a MariaDB for all tests; `mariadb.database()` makes an empty database in it."""
    with run_mariadb() as running:
        yield running


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """Run a Jaeger for all tests: let every test have a service name of its own."""
    with run_jaeger(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture(scope="session")
def loki(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loki]:
    """Run a Loki for all tests: let every test have a service name of its own."""
    with run_loki(tmp_path_factory.mktemp("loki")) as running:
        yield running


@pytest.fixture(scope="session")
def collector(
    tmp_path_factory: pytest.TempPathFactory, jaeger: Jaeger, loki: Loki
) -> Iterator[Collector]:
    """Run the collector in front of `jaeger` and `loki`, for all tests. Do not kill this one."""
    directory = tmp_path_factory.mktemp("collector")
    with run_collector(directory, jaeger=jaeger.otlp_grpc, loki=loki.otlp) as running:
        yield running


@pytest.fixture(scope="session")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector
) -> Iterator[Prometheus]:
    """Run a Prometheus for all tests, scraping `collector` each second."""
    directory = tmp_path_factory.mktemp("prometheus")
    with run_prometheus(directory, collector.metrics, collector.own_metrics) as running:
        yield running


def pytest_configure(config: pytest.Config) -> None:
    """Let `tools` speak to the terminal past the capture, as a build takes minutes."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def announce(message: str) -> None:
        if capture is None:
            print(message, flush=True)
            return
        with capture.global_and_fixture_disabled():
            print(message, flush=True)

    tools.announce = announce


def pytest_sessionstart() -> None:
    """Let a SIGTERM do what Ctrl-C does: the servers end, and their data goes."""
    here = os.getpid()

    def end(number: int, _frame: object) -> None:
        if os.getpid() == here:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)  # a child by fork, which has no servers
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly which real programs were missing, and what was therefore not tested."""
    if lines := tools.report():
        terminalreporter.section("NOT TESTED HERE", sep="!", red=True, bold=True)
        for line in lines:
            terminalreporter.write_line(line)

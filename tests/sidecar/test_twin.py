"""Whatever becomes of the Redis, the application sees what one sees that nobody observes."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.pool import QueuePool

from otel_dbevents import Config, Pipeline
from otel_dbevents.bus.redis.connecting import connect
from tests.harm import scenario
from tests.services.process import wait_until
from tests.services.proxy import Proxy, proxy
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis

pytestmark = pytest.mark.swallows(sometimes=True)

Fault: TypeAlias = Callable[[Redis, Proxy], AbstractContextManager[None]]


@contextmanager
def dead(server: Redis, between: Proxy) -> Iterator[None]:
    server.process.kill()
    between.cut()
    yield


@contextmanager
def still(server: Redis, _: Proxy) -> Iterator[None]:
    server.process.send(signal.SIGSTOP)
    yield
    server.process.send(signal.SIGCONT)


@contextmanager
def full(server: Redis, _: Proxy) -> Iterator[None]:
    admin: Any = connect(server.url)
    admin.config_set("maxmemory", "1")
    yield
    admin.close()


@contextmanager
def slow(_: Redis, between: Proxy) -> Iterator[None]:
    between.delay_s = 0.5
    yield


@contextmanager
def cut(_: Redis, between: Proxy) -> Iterator[None]:
    """Cut each connection in the middle of the answer to what it carries."""
    between.halve(b"XADD")
    yield
    wait_until(lambda: between.swallowed == 1)


@pytest.fixture
def way(tmp_path: Path) -> Iterator[tuple[Redis, Proxy]]:
    directory = tmp_path / "redis"
    directory.mkdir()
    with run_redis(directory) as server, proxy(server.port) as between:
        yield server, between


class Shop:
    """The application of `scenario`, on a SQLite of its own."""

    def __init__(self, path: Path) -> None:
        self._url = make_url(f"sqlite:///{path}")
        self._made: list[Engine] = []
        scenario.prepare(self._make())

    def play(self) -> list[str]:
        """Do all that it does, and return what it saw."""
        scenario.reset(self._make())
        with TracerProvider(shutdown_on_exit=False).get_tracer("app").start_as_current_span("it"):
            seen = scenario.play(self._make, two_phase=False)
        while self._made:
            self._made.pop().dispose()
        return seen

    def _make(self, *, nobody: bool = False, **options: Any) -> Engine:
        url = self._url.set(database="/nobody/is/there.db") if nobody else self._url
        self._made.append(create_engine(url, poolclass=QueuePool, **options))
        return self._made[-1]


@pytest.mark.parametrize("fault", [dead, still, full, slow, cut])
def test_the_application_sees_what_its_unobserved_twin_sees(
    way: tuple[Redis, Proxy], tmp_path: Path, fault: Fault
) -> None:
    server, between = way
    shop = Shop(tmp_path / "shop.db")
    alone = shop.play()
    url = replace(server, port=between.port).url
    size = 1_000 if fault in (slow, cut) else 100
    made = Pipeline(config=Config(bus_url=url, slow_query_ms=0.000_001, buffer_size=size))
    made.attach()
    try:
        assert shop.play() == alone
        assert made.flush(100)
        with fault(server, between):
            assert shop.play() == alone
            if fault in (dead, still, full):
                made.close(0.5)  # before the server is well again
    finally:
        made.close(100)
    # It was in the way of the events, and of nothing else.
    assert bool(made.lost()) == (fault in (dead, still, full))

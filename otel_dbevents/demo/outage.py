"""The second act: a database is killed under a running application, and started again.

The server is a process of its own, and its end is SIGKILL: what is refused, broken off and opened
anew on the sockets is real. The application sells on and mends nothing.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event as Flag
from time import monotonic, sleep
from typing import Any, Final

from opentelemetry.trace import Tracer
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, exc, insert

from otel_dbevents.config import Config
from otel_dbevents.demo import database_driver, database_server
from otel_dbevents.demo.metrics import Point
from otel_dbevents.demo.telemetry import Telemetry
from otel_dbevents.events import DatabaseHealthCheckCompleted, DatabaseRecovered, Event
from otel_dbevents.pipeline import Pipeline

CONFIG: Final = {
    "bus_url": "memory://",
    "health_interval_s": 0.3,
    "recovery": True,
    "recovery_first_s": 0.2,
    "recovery_most_s": 0.4,
    "recovery_tries": 100,
}
"""As anybody would have it, but for the times: nobody wants to watch for a minute."""
BEFORE_S, AWAY_S, AFTER_S = 0.7, 1.0, 0.4
_BETWEEN_S: Final = 0.05
_LEAST: Final = 5
"""So many sales are tried at least, however slow the machine is: the first that fails finds a
connection dead, and those after it find none."""
_PATIENCE_S: Final = 15.0
_sales = Table(
    "sales", MetaData(), Column("id", Integer, primary_key=True), Column("cents", Integer)
)


@dataclass
class Outage:
    """What happened, as the application, the metrics and the events tell it."""

    sold_before: int = 0
    sold_after: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """The application's errors while the database was away, by type."""
    killed_s: float = 0.0
    """From the kill until the server was there again."""
    recovered: DatabaseRecovered | None = None
    health: list[DatabaseHealthCheckCompleted] = field(default_factory=list)
    lost: int = 0
    """Events that were lost on the way."""
    before: Sequence[Point] = ()
    away: Sequence[Point] = ()
    after: Sequence[Point] = ()
    """The metrics, collected while all was well, when it had been away for a while, at the end."""


class Server:
    """The database's process."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "sales.db"
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def start(self) -> None:
        """Start it, on the port that it had before. Raises `LookupError` where it does not run."""
        script = database_server.__file__
        self._process = subprocess.Popen(  # noqa: S603 - our own words, and no shell
            [sys.executable, script, str(self._file), str(self.port)],
            stdin=subprocess.PIPE,  # it ends with us, whatever our end is
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None  # noqa: S101 - it is piped
        said = self._process.stdout.readline()
        if not said.strip().isdigit():
            self.kill()
            raise LookupError("the second act's database does not start here")
        self.port = int(said)

    def kill(self) -> None:
        """End it at once. Twice is harmless."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def play(folder: Path, telemetry: Telemetry, tell: Callable[[Event], None]) -> Outage:
    """Play it; ``tell`` gets each event. Raises `LookupError` where no server can be run."""
    outage, server = Outage(), Server(folder)
    tracer = telemetry.tracer_provider.get_tracer("shop_assistant")
    server.start()
    try:
        with _observed(server, telemetry, tell, outage) as (engine, is_back):
            _open(engine, tracer)
            outage.sold_before = _sell(engine, tracer, BEFORE_S, outage)
            outage.before = telemetry.read_metrics()
            server.kill()
            killed = monotonic()
            _sell(engine, tracer, AWAY_S, outage)
            outage.away = telemetry.read_metrics()
            server.start()
            outage.killed_s = monotonic() - killed
            is_back.wait(_PATIENCE_S)
            outage.sold_after = _sell(engine, tracer, AFTER_S, outage)
    finally:
        server.kill()
    return outage


@contextmanager
def _observed(
    server: Server, telemetry: Telemetry, tell: Callable[[Event], None], outage: Outage
) -> Iterator[tuple[Engine, Flag]]:
    """Make the engine and watch it, it alone; the flag is set when it is told to be back."""
    database_driver.register()
    url = f"sqlite+shopd://127.0.0.1:{server.port}/sales"
    engine = create_engine(url, pool_size=3, max_overflow=0)
    is_back = Flag()

    def note(event: Event) -> None:
        if isinstance(event, DatabaseHealthCheckCompleted):
            outage.health.append(event)
        elif isinstance(event, DatabaseRecovered):
            outage.recovered = event
            is_back.set()
        tell(event)

    settings: dict[str, Any] = dict(CONFIG)
    pipeline = Pipeline(
        tracer_provider=telemetry.tracer_provider,
        meter_provider=telemetry.meter_provider,
        logger_provider=telemetry.logger_provider,
        config=Config(**settings),
    )
    pipeline.attach(engine)
    telling = pipeline.bus.handle(note)
    try:
        yield engine, is_back
        pipeline.flush()
        outage.after = telemetry.read_metrics()
        outage.lost = sum(pipeline.lost().values())
        telling.cancel()
    finally:
        pipeline.close()
        engine.dispose()


def _open(engine: Engine, tracer: Tracer) -> None:
    """Make the table, and have the pool full."""
    with tracer.start_as_current_span("open the till"):
        with engine.begin() as connection:
            _sales.create(connection)
        with engine.connect(), engine.connect(), engine.connect():
            pass


def _sell(engine: Engine, tracer: Tracer, seconds: float, outage: Outage) -> int:
    """Sell something every now and then; return how often that went well."""
    sold, tried, until = 0, 0, monotonic() + seconds
    while tried < _LEAST or monotonic() < until:
        tried += 1
        with tracer.start_as_current_span("sell"):
            try:
                with engine.begin() as connection:
                    connection.execute(insert(_sales).values(cents=1_995))
                sold += 1
            except exc.DBAPIError as error:
                outage.refused[type(error.orig).__name__] += 1
        sleep(_BETWEEN_S)
    return sold

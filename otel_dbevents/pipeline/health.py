"""The health of the databases that one pipeline sees: the window, the checks, recovery."""

from typing import TYPE_CHECKING

from otel_dbevents.bridge import Standing
from otel_dbevents.bus import EventBus
from otel_dbevents.config import Config
from otel_dbevents.events import Database, DatabaseHealthCheckCompleted, Environment
from otel_dbevents.health import desk
from otel_dbevents.health.checks import Checks
from otel_dbevents.health.schedule import Schedule
from otel_dbevents.health.status import Thresholds
from otel_dbevents.health.targets import Target, targets_of
from otel_dbevents.health.window import Windows
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.libsql.client import ClientSource

if TYPE_CHECKING:
    from otel_dbevents.health.recovery import Recovery


class Health:
    """What is made of it by the settings. It is at work once the application has used a database.

    ``windows`` holds the last minutes' queries, ``checks`` makes checks, ``recovery`` is there
    where it was asked for.
    """

    def __init__(
        self,
        config: Config,
        environment: Environment,
        bus: EventBus,
        engines: EngineSource,
        clients: ClientSource,
    ) -> None:
        self._config, self._environment, self._bus = config, environment, bus
        self._engines, self._clients = engines, clients
        self.windows = Windows(config.slo_window_s)
        self.recovery = self._make_recovery()
        self.checks = self._make_checks()
        self.schedule = (
            Schedule(self.checks, self._targets, config.health_interval_s)
            if config.health_interval_s
            else None
        )

    def begin(self) -> None:
        """Let `check_database_health` use these checks from now on. Twice is harmless."""
        desk.take_over(self.checks)

    def awake(self) -> None:
        """Have scheduled checks made from now on. Costs next to nothing. Never raises."""
        if self.schedule is not None:
            self.schedule.awake()

    def standings(self) -> list[Standing]:
        """Return how the databases fare, for the metrics."""
        return [Standing(*each) for each in self.windows.standings()]

    def close(self) -> None:
        """Check nothing more. Twice is harmless."""
        desk.leave(self.checks)
        if self.recovery is not None:
            self.recovery.close()
        if self.schedule is not None:
            self.schedule.close()

    def _make_checks(self) -> Checks:
        config = self._config
        return Checks(
            environment=self._environment,
            thresholds=Thresholds(config.health_degraded_ms, config.health_unhealthy_ms),
            timeout_ms=config.health_timeout_ms,
            slo_p95_ms=config.slo_p95_ms,
            publish=self._bus.publish if self.recovery is None else self.recovery.pass_on,
            pools=self._engines.pools,
            windows=self.windows,
        )

    def _make_recovery(self) -> "Recovery | None":
        config = self._config
        if not config.recovery:
            return None
        from otel_dbevents.health.recovery import Recovery

        return Recovery(
            self._probe,
            self._engines.retire,
            self._bus.publish,
            first_s=config.recovery_first_s,
            most_s=config.recovery_most_s,
            tries=config.recovery_tries,
        )

    def _probe(self, database: Database) -> DatabaseHealthCheckCompleted | None:
        engine = next(iter(self._engines.engines_of(database)), None)
        return None if engine is None else self.checks.check(engine)

    def _targets(self) -> list[Target]:
        return targets_of((*self._engines.in_use(), *self._clients.in_use()), self._environment)

"""The desk: where the application asks for a check, whoever has set us up or nobody."""

from functools import lru_cache

from otel_dbevents.config import Config
from otel_dbevents.events import DatabaseHealthCheckCompleted, Environment
from otel_dbevents.health.checks import Checks
from otel_dbevents.health.status import Thresholds

_in_use: tuple[Checks, ...] = ()
"""Of the pipelines that run, the latest last."""


def check_database_health(
    target: object, *, timeout_ms: float | None = None
) -> DatabaseHealthCheckCompleted:
    """Ask a database whether it answers, and how fast. Blocks until it does, or its time is up.

    The connection is one of its own, made as the target makes its own, and closed after; no query
    metric and no span has it. With a pipeline at work (`instrument`) the event is published too,
    and says how the queries of the last minutes fared. Two calls at a time for one target are one
    check.

    Args:
        target: an `Engine` or `AsyncEngine`, a client of the package ``libsql_client``, a client of
            the package ``redis``, sync or asyncio.
        timeout_ms: for how many milliseconds it may take to connect, and then to answer; None: as
            `OTEL_DBEVENTS_HEALTH_TIMEOUT_MS` says.

    Returns:
        The event: ``status`` (HEALTHY, DEGRADED, UNHEALTHY), ``latency_ms`` of the round trip,
        ``details``. A database that is not reached, or does not answer in time, is UNHEALTHY.

    Raises:
        TypeError: ``target`` is none of these.
        ValueError: ``timeout_ms`` is not above 0.
        ConfigError: nothing is set up, and a setting in the environment is wrong.

    """
    return _checks().check(target, _allowed(timeout_ms))


async def check_database_health_async(
    target: object, *, timeout_ms: float | None = None
) -> DatabaseHealthCheckCompleted:
    """Ask as `check_database_health` does; the event loop goes on meanwhile.

    For sync targets too. It may be cancelled: the check goes on, and is published, without you.
    """
    return await _checks().check_async(target, _allowed(timeout_ms))


def take_over(checks: Checks) -> None:
    """Have the checks of a pipeline used from now on."""
    global _in_use
    _in_use = (*(each for each in _in_use if each is not checks), checks)


def leave(checks: Checks) -> None:
    """Have them used no more. Twice is harmless."""
    global _in_use
    _in_use = tuple(each for each in _in_use if each is not checks)


def _checks() -> Checks:
    return _in_use[-1] if _in_use else _own()


@lru_cache(maxsize=1)
def _own() -> Checks:
    """Return what checks where there is no pipeline, by the environment's settings."""
    config = Config()
    return Checks(
        environment=config.environment or Environment.LOCAL,
        thresholds=Thresholds(config.health_degraded_ms, config.health_unhealthy_ms),
        timeout_ms=config.health_timeout_ms,
        slo_p95_ms=config.slo_p95_ms,
    )


def _allowed(timeout_ms: float | None) -> float | None:
    if timeout_ms is not None and not timeout_ms > 0:
        raise ValueError(f"timeout_ms takes milliseconds above 0; got {timeout_ms!r}")
    return timeout_ms

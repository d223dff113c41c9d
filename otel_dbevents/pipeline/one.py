"""The pipeline of the process: what `instrument` makes, and `uninstrument` ends."""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from opentelemetry.propagators.textmap import TextMapPropagator

from otel_dbevents.bridge import SpanFilter
from otel_dbevents.compat import check_versions, warn_if_contrib_active
from otel_dbevents.config import Config
from otel_dbevents.exporters import sdk_disabled
from otel_dbevents.forks import hold
from otel_dbevents.pipeline.wiring import Pipeline
from otel_dbevents.sources.around import RequestHook, ResponseHook
from otel_dbevents.sources.choosing import EngineFilter
from otel_dbevents.sources.finding import AnyEngine

_log = logging.getLogger("otel_dbevents")
_changing = threading.RLock()
hold(lambda: (_changing,))
_active: Pipeline | None = None
"""The pipeline that `instrument` made."""


def instrument(
    engine: AnyEngine | None = None,
    *,
    tracer_provider: Any = None,
    meter_provider: Any = None,
    logger_provider: Any = None,
    config: Config | None = None,
    propagator: TextMapPropagator | None = None,
    request_hook: RequestHook | None = None,
    response_hook: ResponseHook | None = None,
    span_filter: SpanFilter | None = None,
    engine_filter: EngineFilter | None = None,
) -> Pipeline:
    """Listen to ``engine``, or to every engine there is and will be, sync or async.

    Called again it adds the engine to the pipeline that runs; whatever else is given then and is
    not that pipeline's is ignored with a warning.

    Args:
        engine: an `Engine` or `AsyncEngine`, or a client of the package ``libsql_client``; None:
            all of them.
        tracer_provider: the spans'; like the other two the global one where it is not given.
        meter_provider: the metrics'.
        logger_provider: the log records'.
        config: the settings; else the environment's (``OTEL_DBEVENTS_*``).
        propagator: writes the comment behind each statement, where ``sqlcommenter`` is on; else
            the global one.
        request_hook: called before the driver with SQLAlchemy's execution context, the SQL and the
            parameters. The mapping that it returns are attributes of the query's span.
        response_hook: called after the driver with the execution context, the cursor, and the
            error or None. As above.
        span_filter: called with each `QueryExecuted` and `QueryFailed`, on a worker. False: it has
            no span. Metrics, log records and judgements are made all the same.
        engine_filter: called once with each engine, of an `AsyncEngine` with its ``sync_engine``.
            False: nothing of that engine is observed.

    A hook or filter that raises harms nothing: the attributes are left out, the span is made, the
    engine is observed; that is counted and logged.

    Raises:
        ConfigError: a setting is wrong; the message names it and what it takes.
        UnsupportedVersionError: SQLAlchemy or the OpenTelemetry SDK is missing or too old.
        TypeError: ``engine`` is not an engine, or a hook or filter no plain function.

    """
    global _active
    wanted: dict[str, Any] = {
        "tracer_provider": tracer_provider,
        "meter_provider": meter_provider,
        "logger_provider": logger_provider,
        "config": config,
        "propagator": propagator,
        "request_hook": request_hook,
        "response_hook": response_hook,
        "span_filter": span_filter,
        "engine_filter": engine_filter,
    }
    with _changing:
        active = _active
        if active is None or active._closed:
            check_versions()
            warn_if_contrib_active()
            active = _active = Pipeline(**wanted)
        else:
            _warn_of_change(active._arguments, wanted)
    if active.config.enabled and not sdk_disabled():
        active.attach(engine)
    return active


def uninstrument(engine: AnyEngine | None = None) -> None:
    """Let go of ``engine``, or of all engines and stop. Calling it twice is harmless."""
    global _active
    with _changing:
        pipeline = _active
        if engine is None:
            _active = None
    if pipeline is None:
        return
    if engine is not None:
        pipeline.detach(engine)
        return
    pipeline.close(pipeline.config.flush_timeout_ms / 1000)


def flush(timeout: float = 2.0) -> bool:
    """Make telemetry of all events so far; False when ``timeout`` seconds ran out."""
    return _active is None or _active.flush(timeout)


def _warn_of_change(active: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    ignored = [
        name
        for name, value in wanted.items()
        if value is not None and value is not active[name] and value != active[name]
    ]
    if ignored:
        _log.warning(
            "instrument() was called again with another %s, which is ignored: call "
            "otel_dbevents.uninstrument() first, or make a Pipeline of its own",
            " and ".join(ignored),
        )

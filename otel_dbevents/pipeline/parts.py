"""What a pipeline is made of, as its settings want it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otel_dbevents.bridge import Objective, Shown
from otel_dbevents.config import Config, Langfuse
from otel_dbevents.events import Environment

if TYPE_CHECKING:
    from otel_dbevents.bus.limiter import Limiter
    from otel_dbevents.langfuse.scores import Scores
    from otel_dbevents.langfuse.sending import Sending
    from otel_dbevents.sources.explain.explainer import Explainer


def objective_of(config: Config) -> Objective:
    """Return what the settings promise, in seconds."""
    return Objective(
        config.slo_p95_ms / 1e3, config.health_degraded_ms / 1e3, config.health_unhealthy_ms / 1e3
    )


def shown_of(config: Config) -> Shown | None:
    """Return what Langfuse is shown beyond totals; None: nothing."""
    if config.langfuse is Langfuse.OFF:
        return None
    queries = {Langfuse.SLOW_AND_ERRORS: "slow_and_errors", Langfuse.ALL: "all"}
    wanted: Any = queries.get(config.langfuse, "none")
    return Shown(wanted, config.langfuse_events, config.langfuse_spans_per_trace)


def sending_of(config: Config) -> "Sending | None":
    """Return our own way to Langfuse, where it was asked for. Raises `ConfigError`."""
    if not (config.langfuse_export and config.enabled):
        return None
    from otel_dbevents.langfuse.sending import Sending

    return Sending(config)


def explainer_of(config: Config) -> "Explainer | None":
    """Return what asks for the plans of slow queries, where that was asked for."""
    if not config.explain_slow_queries:
        return None
    from otel_dbevents.sources.explain.explainer import Explainer

    return Explainer(timeout_ms=config.explain_timeout_ms, per_minute=config.explain_per_minute)


def limiter_of(config: Config) -> "Limiter | None":
    """Return what limits the rate of events, where there is a limit."""
    if config.rate_limit is None:
        return None
    from otel_dbevents.bus.limiter import Limiter

    return Limiter(config.rates())


def scores_of(config: Config) -> "Scores | None":
    """Return what scores generations in Langfuse, where that was asked for."""
    if not config.langfuse_scores or not config.enabled:
        return None
    from otel_dbevents.langfuse.scores import Scores

    return Scores(at_exit=config.flush_timeout_ms / 1000)


def environment_of(provider: Any) -> Environment:
    """Return what the resource says (``deployment.environment.name``); local where it is silent."""
    attributes: Mapping[str, Any] = getattr(getattr(provider, "resource", None), "attributes", {})
    said = attributes.get("deployment.environment.name") or attributes.get("deployment.environment")
    return Environment(said) if isinstance(said, str) else Environment.LOCAL

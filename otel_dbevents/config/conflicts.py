"""Settings that are right each by itself and cannot be had together: refused at the start.

What would never happen is told then, not missed later.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from otel_dbevents.compat import langfuse_problem
from otel_dbevents.config.errors import ConfigError
from otel_dbevents.config.names import variable
from otel_dbevents.config.values import MEMORY, Langfuse

if TYPE_CHECKING:
    from otel_dbevents.config import Config

Written: TypeAlias = Callable[[str], str]
"""Returns a setting's name as the user wrote it, or would."""


def refuse_conflicts(config: "Config") -> None:
    """Raise `ConfigError` for the first wish that the other settings make impossible."""

    def written(name: str) -> str:
        return name if config.origin(name) == "argument" else variable(name)

    _refuse_explaining_nothing(config, written)
    for name in ("langfuse_events", "langfuse_export"):
        if getattr(config, name):
            _refuse_what_langfuse_never_sees(config, written, name)
    if config.langfuse_scores:
        _refuse_scores_that_cannot_be(config, written)
    if config.ships:
        _refuse_what_does_not_ship(config, written)
    _refuse_unhealthy_before_degraded(config, written)
    _refuse_a_previous_key_alone(config, written)


def _refuse_explaining_nothing(config: "Config", written: Written) -> None:
    if config.explain_slow_queries and not config.slow_query_ms:
        explain, slow = written("explain_slow_queries"), written("slow_query_ms")
        raise ConfigError(
            f"{explain} is on, but no query is slow while {slow} is 0: set {slow} to a number "
            f"of milliseconds, for example {slow}=500, or turn {explain} off"
        )


def _refuse_what_langfuse_never_sees(config: "Config", written: Written, name: str) -> None:
    """Refuse a wish for Langfuse beside settings that leave nothing to be shown there."""
    wish, mode, spans = (written(each) for each in (name, "langfuse", "spans"))
    if config.langfuse is Langfuse.OFF:
        mend = f"set {mode}=summary, or turn {wish} off"
        raise ConfigError(f"{wish} is on, but {mode} is off: {mend}")
    if not config.spans:
        raise ConfigError(f"{wish} is on, but {spans} is off: turn {spans} on, or {wish} off")
    if config.langfuse is Langfuse.SUMMARY and not config.langfuse_events:
        raise ConfigError(
            f"{wish} is on, but {mode}=summary is told on the LLM spans, and there is nothing "
            f"to send: set {mode}=slow_and_errors, or turn {wish} off"
        )


def _refuse_scores_that_cannot_be(config: "Config", written: Written) -> None:
    scores, langfuse = written("langfuse_scores"), written("langfuse")
    if config.langfuse is Langfuse.OFF:
        raise ConfigError(
            f"{scores} is on, but {langfuse} is off, so that nothing is known of generations: "
            f"set {langfuse}=summary, or turn {scores} off"
        )
    if problem := langfuse_problem():
        raise ConfigError(f"{scores} is on, and {problem}, or turn {scores} off")


def _refuse_what_does_not_ship(config: "Config", written: Written) -> None:
    """Refuse what is done where spans are made, which is not in the application then."""
    for name in ("synchronous", "langfuse_export"):
        if getattr(config, name):
            bus, shown = written("bus_url"), written(name)
            raise ConfigError(
                f"{shown} is on, but {bus} names a Redis, so that spans are made by the "
                f"sidecar: turn {shown} off, or set {bus}={MEMORY}"
            )


def _refuse_unhealthy_before_degraded(config: "Config", written: Written) -> None:
    if config.health_degraded_ms > config.health_unhealthy_ms:
        lower, upper = written("health_degraded_ms"), written("health_unhealthy_ms")
        raise ConfigError(
            f"{lower} is {config.health_degraded_ms:g} and {upper} is "
            f"{config.health_unhealthy_ms:g}, but a database is degraded before it is unhealthy: "
            f"set {lower} to {upper} or less"
        )


def _refuse_a_previous_key_alone(config: "Config", written: Written) -> None:
    if config.signing_key_previous is not None and config.signing_key is None:
        key, previous = written("signing_key"), written("signing_key_previous")
        raise ConfigError(f"{previous} is set, but {key} is not: set both, or {key} alone")

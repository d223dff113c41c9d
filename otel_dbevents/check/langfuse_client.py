"""Langfuse's own client: whether it is there, and whether its variables let it do anything."""

import os
from collections.abc import Iterator
from typing import Final

from otel_dbevents.check.report import Finding
from otel_dbevents.compat import installed, langfuse_problem
from otel_dbevents.config import Config, ConfigError, variable

_TOPIC: Final = "langfuse client"
_KEYS: Final = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
_OFF: Final = ("false", "0")


def look_at_client() -> Iterator[Finding]:
    """Look at what can be known of a client that the application has not made yet.

    Nothing is said where there is nothing of Langfuse. The keys are not looked at, nor shown.
    """
    version = installed("langfuse")
    has_keys = any(map(_value, _KEYS))
    if version is None and not has_keys:
        return
    yield _version(version)
    yield from _keys()
    if _value("LANGFUSE_TRACING_ENABLED").lower() in _OFF:
        mend = "unset LANGFUSE_TRACING_ENABLED"
        yield Finding(_TOPIC, "warning", "is turned off, by LANGFUSE_TRACING_ENABLED", mend)
    yield from _scores()


def _version(version: str | None) -> Finding:
    if version is None:
        text = "is not installed: what is told on LLM spans needs none, scores would"
        return Finding(_TOPIC, "ok", text)
    if version.startswith(("1.", "2.", "3.")):
        text = f"langfuse {version} sends every span to Langfuse, those of the database too"
        return Finding(_TOPIC, "warning", text, "pip install 'langfuse>=4.7'")
    if problem := langfuse_problem():
        text, _, mend = problem.partition(": ")
        return Finding(_TOPIC, "warning", text, mend)
    return Finding(_TOPIC, "ok", f"langfuse {version}")


def _keys() -> Iterator[Finding]:
    """Say which of the two keys is missing. Without both they may be given in the code."""
    there = [name for name in _KEYS if _value(name)]
    if len(there) == 1:
        (missing,) = {*_KEYS} - {*there}
        text = f"{there[0]} is set, and {missing} is not: a client made of them does nothing"
        yield Finding(_TOPIC, "warning", text, f"set {missing}, or give it in the code")


def _scores() -> Iterator[Finding]:
    try:
        config = Config()
    except ConfigError:
        return  # the settings' finding says it
    if config.langfuse_scores:
        text = "gets two scores for each generation that caused database work, each a billed unit"
        yield Finding(_TOPIC, "ok", f"{text} ({variable('langfuse_scores')})")


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()

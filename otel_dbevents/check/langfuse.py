"""What Langfuse is shown, by which way, and whether it answers and takes the keys."""

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Literal

from otel_dbevents.check import report
from otel_dbevents.check.report import Finding, short, within
from otel_dbevents.config import Config, ConfigError, Langfuse

if TYPE_CHECKING:
    from otel_dbevents.exporters.destination import Destination

_Status = Literal["warning", "wrong"]
_TOPIC: Final = "langfuse"
_PROJECTS: Final = "/api/public/projects"
_TOTALS: Final = "totals stand on the LLM spans"


def look_at_langfuse() -> Iterator[Finding]:
    """Say what Langfuse is shown; ask it about the keys, where there are any. Nothing is sent."""
    try:
        config = Config()
    except ConfigError:
        return  # the settings' finding says it
    if config.langfuse is Langfuse.OFF:
        yield Finding(_TOPIC, "ok", "is shown nothing, by OTEL_DBEVENTS_LANGFUSE")
        return
    yield _shown(config)
    has_keys = bool(os.environ.get("LANGFUSE_PUBLIC_KEY"))
    if config.langfuse_export or has_keys:
        # What is wrong is so only for us; whoever else has these keys says it too.
        yield _answer("wrong" if config.langfuse_export else "warning")


def _shown(config: Config) -> Finding:
    """Say what is shown, and by which way."""
    has_queries = config.langfuse is not Langfuse.SUMMARY
    if not has_queries and not config.langfuse_events:
        return Finding(_TOPIC, "ok", f"{config.langfuse}: {_TOTALS}, no query is shown by itself")
    most = config.langfuse_spans_per_trace
    queries = f"{config.langfuse}: {_TOTALS}" + (", queries by themselves" if has_queries else "")
    events = ", domain events" if config.langfuse_events else ""
    what = f"{queries}{events} (at most {most} in a trace)"
    if config.langfuse_export:
        return Finding(_TOPIC, "ok", f"{what}; sent by us, as OTEL_DBEVENTS_LANGFUSE_EXPORT is on")
    mend = (
        "make Langfuse's client with should_export_span=langfuse_filter(), or set "
        "OTEL_DBEVENTS_LANGFUSE_EXPORT=true, or forward them in the collector "
        "(deploy/collector/langfuse.yaml)"
    )
    return Finding(_TOPIC, "ok", f"{what}; sent by whoever you have told to", mend)


def _answer(status: _Status) -> Finding:
    """Ask Langfuse whose keys these are; ``status`` is what a wrong answer amounts to."""
    from otel_dbevents.exporters import SetupError
    from otel_dbevents.exporters.destination import Destination

    try:
        destination = Destination.from_environment()
    except SetupError as error:
        text, _, mend = str(error).partition(": ")
        return Finding(_TOPIC, status, text, mend)
    seconds = report.PATIENCE
    silent = f"{destination.where} answers nothing in {seconds:.0f} s"
    otherwise = Finding(_TOPIC, status, silent, "check LANGFUSE_BASE_URL")
    return within(seconds + 1, lambda: _ask(destination, status), otherwise)


def _ask(destination: "Destination", status: _Status) -> Finding:
    from otel_dbevents.exporters.destination import Unsent

    try:
        answer = json.loads(destination.ask(_PROJECTS, report.PATIENCE))
        (project,) = answer["data"]
        name = short(project["name"], destination.secret_key)
    except Unsent as unsent:
        text = f"{destination.where} does not take us: {short(unsent)}"
        return Finding(_TOPIC, status, text, unsent.mend)
    except (ValueError, KeyError, TypeError):
        text = f"{destination.where} does not answer as Langfuse does"
        return Finding(_TOPIC, status, text, "check LANGFUSE_BASE_URL")
    return Finding(_TOPIC, "ok", f"{destination.where} takes the keys, of the project {name}")

"""LLM work: which spans of it are open, what the database did below each, and what caused that.

In: the spans that start and end in this process (`Turns.follow`), and events of the database, each
entered on the caller's thread just before it is published (`Turns.ledger`, `Ledger.enter`). Out:
each such event says which generation caused it (`Event.llm`), and each open LLM span says how
many queries ran below it and how long they took, as attributes that Langfuse shows
(`Turns.settle`, on a worker; exactly, when the span ends).

Promised: outside LLM work nothing is entered. Nothing is added up on the caller's thread, but what
is still to be added up when a span ends. Memory is bounded, whatever never ends. Nothing here
reaches the application as an error.

Known as LLM spans are those of Langfuse's client, of OpenTelemetry's GenAI conventions, of
OpenInference and of OpenLLMetry. Neither SQLAlchemy nor Langfuse's package is imported.
"""

from typing import Final

from opentelemetry.context import get_current

from otel_dbevents.llm.ledger import Elsewhere, Ledger
from otel_dbevents.llm.rollup import Caused, Repeated, RollUp
from otel_dbevents.llm.turns import Turns

__all__ = ["Caused", "Elsewhere", "Ledger", "Repeated", "RollUp", "Turns", "roll_up", "shared"]

shared: Final = Turns()
"""The process's own, which all pipelines share."""


def roll_up() -> RollUp | None:
    """Return what the database did so far below the LLM span that is current.

    For the nearest one on the way up that is open; None outside LLM work, and while nothing is
    instrumented. A query counts once it was told of: its result was read or closed.
    """
    return shared.roll_up(get_current())

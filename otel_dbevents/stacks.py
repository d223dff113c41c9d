"""The stack of a call that failed: beside its event, never in it.

The source puts it into the OpenTelemetry context that it publishes the event with, and whoever
writes a log takes it from there. It is in no event, so no handler, history or other process has it.
"""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from opentelemetry.context import Context, create_key, set_value

Stack: TypeAlias = Callable[[], str]
"""Returns the stack as Python would print it, without values, source lines or the message."""

_KEY: Final = create_key("otel_dbevents.stack")


def with_stack(context: Context, stack: Stack) -> Context:
    """Return the same context with a stack in it."""
    return set_value(_KEY, stack, context)


def stack_of(context: Any) -> str:
    """Return the stack in a context; empty where there is none."""
    found: Any = None if context is None else context.get(_KEY)
    return "" if found is None else str(found())

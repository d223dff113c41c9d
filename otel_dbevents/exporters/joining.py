"""A tracer provider that Langfuse's client made, and where its spans go beside Langfuse.

Where there is no provider yet the client makes one and sets it, for itself alone. Made after ours
it joins ours; so that the order of two imports decides nothing, ours join its one too, where the
``OTEL_*`` variables name where traces go. Spans of LLM work go there as well, as they do in the
other order.
"""

import logging
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final

from otel_dbevents.exporters.processors import CountingSpanProcessor
from otel_dbevents.exporters.reconnecting import reconnect
from otel_dbevents.exporters.stages import stages_of
from otel_dbevents.forks import hold, in_child
from otel_dbevents.swallowing import came_through, told

_NAMED_BY: Final = (
    "OTEL_TRACES_EXPORTER",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
)
_log = logging.getLogger("otel_dbevents.exporters")


def is_langfuses(provider: Any) -> bool:
    """Whether nothing but Langfuse's client has spans of this provider sent anywhere."""
    kinds = [type(stage) for stage in stages_of(provider)]
    rooms = {kind.__module__.partition(".")[0] for kind in kinds}
    return CountingSpanProcessor not in kinds and rooms - {"otel_dbevents"} == {"langfuse"}


def is_named() -> bool:
    """Whether a variable names where traces go."""
    return any(os.environ.get(name, "").strip() for name in _NAMED_BY)


def exporters_to_join(provider: Any) -> Sequence[type[Any]]:
    """Return the exporters that a provider lacks; none where it is not Langfuse's alone.

    Raises what the SDK raises when a variable is wrong.
    """
    if not (is_langfuses(provider) and is_named()):
        return ()
    from opentelemetry.sdk import _configuration as sdk

    from otel_dbevents.exporters.setup import exporter_names

    exporters, _, _ = sdk._import_exporters(exporter_names("traces"), [], [])
    return tuple(exporters.values())


def join(provider: Any, kinds: Iterable[type[Any]], timeout: float, *, direct_otlp: bool) -> None:
    """Have a provider's spans exported by these kinds of exporters, too.

    ``timeout`` is how many seconds the end of the process may take.
    """
    for kind in kinds:
        exporter = kind()
        if direct_otlp:
            _encode_directly(exporter)
        processor = CountingSpanProcessor(exporter, shutdown_s=timeout)
        hold(partial(_export_locks, processor))
        in_child(partial(reconnect, exporter))
        provider.add_span_processor(processor)


def _export_locks(processor: CountingSpanProcessor) -> tuple[Any, ...]:
    return (processor._outbox._export_lock,)


def _encode_directly(exporter: Any) -> None:
    try:
        from otel_dbevents.exporters.direct import encode_directly

        encode_directly(exporter)
    except Exception as error:  # noqa: BLE001 - the exporter works without it
        told("direct encoding", error)
        _log.debug("spans are encoded by the SDK: %s", came_through(error))

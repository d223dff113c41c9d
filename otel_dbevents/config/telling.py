"""The settings of what is told of it, how much waits meanwhile, and in which form."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from otel_dbevents.config.group import Group
from otel_dbevents.config.values import (
    HISTORY,
    NUMBER,
    Count,
    EventLogTarget,
    as_mode,
    checked_rates,
)


class TellingSettings(Group):
    """What is emitted, what waits for it, and what is remembered."""

    require_parent: bool = Field(
        False,
        description="Spans only within a span of the application; metrics count all still.",
        examples=["true"],
    )
    sqlcommenter: bool = Field(
        False,
        description="Append a comment with the trace to each statement. Caches that know a "
        "statement by its whole text miss it then.",
        examples=["true"],
    )
    capture_error_messages: bool = Field(
        False,
        description="Keep the driver's own error messages. They can hold values of your data.",
        examples=["true"],
    )
    history: Count | None = Field(
        None,
        description=f"How many events the bus remembers. Not set: {HISTORY}, and 0 in production.",
        examples=["100"],
    )
    buffer_size: Annotated[int, Field(ge=1, le=10_000_000), NUMBER] = Field(
        20_000,
        description="Events that wait for a consumer; beyond it the oldest is dropped and counted.",
        examples=["50000"],
    )
    buffer_bytes: Annotated[int, Field(ge=0, le=2**40), NUMBER] = Field(
        0,
        description="With a Redis: so many bytes of events wait for it at most, about (250 for one "
        "at least); beyond it the oldest is dropped and counted. 0: `BUFFER_SIZE` alone.",
        examples=["50000000"],
    )
    rate_limit: Annotated[str | None, BeforeValidator(checked_rates)] = Field(
        None,
        description="So many events of a type have spans and log records, and go to Redis, in a "
        "second; the metrics count all. `*` is for each type not named.",
        examples=["QueryExecuted=5000/s,*=20000/s"],
    )
    flush_timeout_ms: Annotated[float, Field(ge=0, le=600_000, allow_inf_nan=False), NUMBER] = (
        Field(
            2_000,
            description="How long the end of the process may wait for what is not sent yet.",
            examples=["5000"],
        )
    )
    synchronous: bool = Field(
        False,
        description="Make spans at once, on the caller's thread: for tests and notebooks.",
        examples=["true"],
    )
    spans: bool = Field(True, description="Emit spans.", examples=["false"])
    metrics: bool = Field(True, description="Emit metrics.", examples=["false"])
    logs: bool = Field(True, description="Emit domain events as log records.", examples=["false"])
    event_log: Annotated[EventLogTarget, BeforeValidator(as_mode)] = Field(
        EventLogTarget.OFF,
        description="Write domain events as log lines too: to `stdout` or `stderr`, each a JSON "
        "object; or to Python's `logging`, as records of `otel_dbevents.events`.",
        examples=["stdout"],
    )
    direct_otlp: bool = Field(
        True,
        description="Encode spans for OTLP ourselves where `import otel_dbevents.auto` sets up the "
        "exporter; false: the SDK's slower encoder.",
        examples=["false"],
    )

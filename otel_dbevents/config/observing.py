"""The settings of what is looked at: the application's place and its queries."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from otel_dbevents.config.group import Group
from otel_dbevents.config.values import NUMBER, Count, Milliseconds, as_environment
from otel_dbevents.events import Environment


class ObservingSettings(Group):
    """What is looked at, and from when on a query is worth a word."""

    enabled: bool = Field(True, description="Whether anything is observed at all.")
    environment: Annotated[Environment | None, BeforeValidator(as_environment)] = Field(
        None,
        description="Where the application runs. Not set: the resource's "
        "`deployment.environment.name`, else `local`.",
        examples=["production"],
    )
    slow_query_ms: Milliseconds = Field(
        500,
        description="From this duration on a query is slow: `SlowQueryDetected`. 0 turns it off.",
        examples=["200"],
    )
    repeated_queries: Count = Field(
        10,
        description="So many runs of one statement under one span are an N+1 burst: "
        "`RepeatedQueryDetected`. 0 turns it off.",
        examples=["20"],
    )
    fold_after: Count = Field(
        10,
        description="So many runs of one statement under one span have spans of their own; further "
        "fast ones fold into one that says how many and how long. 0 turns it off.",
        examples=["100"],
    )
    min_duration_ms: Milliseconds = Field(
        0,
        description="No spans for successful queries shorter than this; metrics count them still.",
        examples=["1.5"],
    )
    explain_slow_queries: bool = Field(
        False,
        description="Ask the database for the plan of slow SELECTs, on a connection of our own: "
        "`QueryExplained`. The server may log the EXPLAIN with its values.",
        examples=["true"],
    )
    explain_timeout_ms: Annotated[float, Field(ge=1, le=60_000, allow_inf_nan=False), NUMBER] = (
        Field(
            1_000,
            description="How long the database may take for one plan.",
            examples=["200"],
        )
    )
    explain_per_minute: Annotated[int, Field(ge=1, le=600), NUMBER] = Field(
        10,
        description="At most so many plans are asked for in any minute, each statement's once in "
        "ten minutes.",
        examples=["5"],
    )

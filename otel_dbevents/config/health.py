"""The settings of the databases' state: asked after, measured, and waited for."""

from typing import Annotated

from pydantic import Field

from otel_dbevents.config.group import Group
from otel_dbevents.config.values import DAY_MS, NUMBER, Milliseconds, Seconds


class HealthSettings(Group):
    """How a database is asked whether it answers, and what its objective is."""

    health_interval_s: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False), NUMBER] = (
        Field(
            30,
            description="So often each database in use is asked whether it answers: "
            "`DatabaseHealthCheckCompleted`. 0 turns it off.",
            examples=["10"],
        )
    )
    health_timeout_ms: Annotated[float, Field(ge=10, le=60_000, allow_inf_nan=False), NUMBER] = (
        Field(
            2_000,
            description="For how long it may take to connect, and then to answer; beyond it the "
            "database is unhealthy.",
            examples=["500"],
        )
    )
    health_degraded_ms: Milliseconds = Field(
        100,
        description="From this round trip on a database is degraded.",
        examples=["50"],
    )
    health_unhealthy_ms: Milliseconds = Field(
        200,
        description="From this round trip on it is unhealthy.",
        examples=["150"],
    )
    slo_p95_ms: Annotated[float, Field(ge=0.1, le=DAY_MS, allow_inf_nan=False), NUMBER] = Field(
        200,
        description="The objective: 95 of 100 queries are faster than this. The histogram of "
        "durations has it among its bounds.",
        examples=["50"],
    )
    slo_window_s: Annotated[float, Field(ge=10, le=86_400, allow_inf_nan=False), NUMBER] = Field(
        300,
        description="Over so many last seconds the percentiles and the error rate are told.",
        examples=["60"],
    )


class RecoverySettings(Group):
    """How a database that failed is waited for."""

    recovery: bool = Field(
        False,
        description="Ask a database that failed until it answers, and have what its pools held "
        "from before replaced: `DatabaseRecovered` comes without the application's help.",
        examples=["true"],
    )
    recovery_tries: Annotated[int, Field(ge=1, le=1_000), NUMBER] = Field(
        10,
        description="So often it is asked before it is given up, until the application itself gets "
        "a connection.",
        examples=["20"],
    )
    recovery_first_s: Seconds = Field(
        1,
        description="The longest wait before it is asked for the first time; the next may take "
        "twice as long each.",
        examples=["0.5"],
    )
    recovery_most_s: Seconds = Field(
        60,
        description="The longest wait before any.",
        examples=["30"],
    )

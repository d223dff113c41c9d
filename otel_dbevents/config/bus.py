"""The settings of the way between the application and the telemetry."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from otel_dbevents.config.group import Group
from otel_dbevents.config.values import MEMORY, Key, checked_bus_url


class BusSettings(Group):
    """Where the bus is, and what keeps strangers off it."""

    bus_url: Annotated[str, BeforeValidator(checked_bus_url)] = Field(
        MEMORY,
        repr=False,
        description="Where the bus is. With a Redis the application ships its events there, and "
        "`otel-dbevents sidecar` makes the telemetry.",
        examples=["redis://localhost:6379/0"],
    )
    stream: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,200}$")] = Field(
        "dbevents",
        description="The name of the stream in Redis.",
        examples=["shop-events"],
    )
    signing_key: Key = Field(
        None,
        description="Signs what goes into Redis; the sidecar then takes nothing else.",
        examples=["$(openssl rand -hex 32)"],
    )
    signing_key_previous: Key = Field(
        None,
        description="Is taken still, while the key is exchanged.",
        examples=["$(openssl rand -hex 32)"],
    )

"""Whether the Redis that the bus is on can be reached, is new enough, and is read by anybody."""

from collections.abc import Iterator
from typing import Any, Final

from otel_dbevents.bus.redis.connecting import (
    RedisSetupError,
    check_package,
    check_version,
    connect,
    explained,
    where,
)
from otel_dbevents.check import report
from otel_dbevents.check.report import Finding
from otel_dbevents.config import Config

_TOPIC: Final = "bus"


def look_at_bus(config: Config) -> Iterator[Finding]:
    """Look at it, where the settings name one. Nothing is written there."""
    if not config.ships:
        return
    url = config.bus_url
    client: Any = None
    try:
        check_package()
        client = connect(url, timeout=report.PATIENCE / 2)
        client.xlen(config.stream)  # as an application's user may not ping
        check_version(client, url)
    except RedisSetupError as error:
        text, _, mend = str(error).rpartition(": ")
        yield Finding(_TOPIC, "wrong", text or str(error), mend)
        return
    except Exception as error:  # noqa: BLE001 - whatever the package or the system raises
        what, mend = explained(error, url)
        yield Finding(_TOPIC, "wrong", what, mend)
        return
    try:
        yield Finding(_TOPIC, "ok", f"Redis at {where(url)} answers")
        yield from _readers(client, config.stream)
        yield from _dead(client, config.stream)
        if config.signing_key is None:
            mend = "set OTEL_DBEVENTS_SIGNING_KEY, the same in the application and the sidecar"
            yield Finding(_TOPIC, "warning", "entries are not signed: who can write may lie", mend)
    except Exception as error:  # noqa: BLE001 - it went away, or the user may not look
        yield Finding(_TOPIC, "warning", *explained(error, url))
    finally:
        client.close()


def _readers(client: Any, stream: str) -> Iterator[Finding]:
    """Say whether somebody reads, and how far behind."""
    mend = "start one: otel-dbevents sidecar"
    groups = client.xinfo_groups(stream) if client.exists(stream) else []
    if not groups:
        yield Finding(_TOPIC, "warning", f"no sidecar has ever read {stream}", mend)
    for group in groups:
        name = group["name"].decode(errors="replace")
        waiting = (group.get("lag") or 0) + group["pending"]
        if not group["consumers"]:
            yield Finding(
                _TOPIC, "warning", f"nobody reads for {name}: {waiting} entries wait", mend
            )
        else:
            yield Finding(_TOPIC, "ok", f"{name} reads {stream}: {waiting} entries wait")


def _dead(client: Any, stream: str) -> Iterator[Finding]:
    number = client.xlen(f"{stream}:dead")
    if number:
        mend = f"each says why in its field reason: redis-cli XRANGE {stream}:dead - +"
        yield Finding(_TOPIC, "warning", f"{number} entries are in the dead letters", mend)

"""Whether the Redis that the bus is on can be reached, is new enough, and is read by anybody."""

from collections.abc import Iterator, Mapping
from time import time
from typing import Any, Final

from otel_dbevents.bus.redis.connecting import (
    RedisSetupError,
    check_package,
    check_version,
    connect,
    explained,
    is_denied,
    let_go,
    where,
)
from otel_dbevents.bus.redis.group import seconds
from otel_dbevents.check import report
from otel_dbevents.check.report import Finding
from otel_dbevents.config import Config

_TOPIC: Final = "bus"
_LATE_S: Final = 30.0
_LATE_MEND: Final = (
    "see what it waits for (otel-dbevents check --sidecar HOST:PORT), or start another sidecar"
)


def look_at_bus(config: Config) -> Iterator[Finding]:
    """Look at it, where the settings name one. Nothing is written there."""
    if not config.ships:
        return
    url = config.bus_url
    client: Any = None
    try:
        check_package()
        client = connect(url, timeout=report.PATIENCE / 2)
        _enter(client, config.stream)
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
        yield from _look(client, config.stream)
        if config.signing_key is None:
            mend = "set OTEL_DBEVENTS_SIGNING_KEY, the same in the application and the sidecar"
            yield Finding(_TOPIC, "warning", "entries are not signed: who can write may lie", mend)
    except Exception as error:  # noqa: BLE001 - it went away, or the user may not look
        yield Finding(_TOPIC, "warning", *explained(error, url))
    finally:
        let_go(client)


def _enter(client: Any, stream: str) -> None:
    """Raise where it does not let us in, or the user may neither look nor ship; write nothing."""
    try:
        client.xlen(stream)  # as an application's user may not ping
    except Exception as denied:
        if not is_denied(denied):
            raise
        try:
            client.execute_command("XADD", stream, "0-0", "v", "0")  # no entry may have this id
        except Exception as error:
            if "greater than 0-0" not in str(error):
                raise


def _look(client: Any, stream: str) -> Iterator[Finding]:
    """Say what there is to see for this user, and what another would see."""
    unseen = []
    for what, look in (("who reads the stream", _readers), ("the dead letters", _dead)):
        try:
            yield from look(client, stream)
        except Exception as error:
            if not is_denied(error):
                raise
            unseen.append(what)
    if unseen:
        text = f"{' and '.join(unseen)}: not for this user to see"
        mend = "check with the URL of a user who may look: operator in deploy/redis/users.acl"
        yield Finding(_TOPIC, "ok", text, mend)


def _readers(client: Any, stream: str) -> Iterator[Finding]:
    """Say whether somebody reads, and how far behind."""
    mend = "start one: otel-dbevents sidecar"
    try:
        groups = client.xinfo_groups(stream)
    except Exception as error:
        if "no such key" not in str(error):
            raise
        groups = []
    if not groups:
        yield Finding(_TOPIC, "warning", f"no sidecar has ever read {stream}", mend)
    for group in groups:
        name = group["name"].decode(errors="replace")
        waiting = (group.get("lag") or 0) + group["pending"]
        behind = _behind(client, stream, group) if waiting else 0.0
        said = f"{waiting} entries wait"
        said += f", the oldest for {behind:.0f} s" if behind >= 10 else ""
        if not group["consumers"]:
            away = f"or do away with it, as operator: redis-cli XGROUP DESTROY {stream} {name}"
            yield Finding(
                _TOPIC,
                "warning",
                f"nobody reads for {name}: {said}",
                f"start a sidecar with this handler, {away}" if _is_handler(name) else mend,
            )
        elif behind > _LATE_S:
            yield Finding(_TOPIC, "warning", f"{name} is late: {said}", _LATE_MEND)
        else:
            yield Finding(_TOPIC, "ok", f"{name} reads {stream}: {said}")


def _is_handler(group: str) -> bool:
    return group.startswith("handler:")


def _behind(client: Any, stream: str, group: Mapping[str, Any]) -> float:
    """Return the age in seconds of the oldest entry that is not handled."""
    oldest = b""
    if group["pending"]:
        oldest = client.xpending(stream, group["name"])["min"] or b""
    if not oldest:
        found = client.xrange(stream, b"(" + group["last-delivered-id"], "+", 1)
        oldest = found[0][0] if found else b""
    return max(0.0, time() - seconds(oldest)) if oldest else 0.0


def _dead(client: Any, stream: str) -> Iterator[Finding]:
    number = client.xlen(f"{stream}:dead")
    if number:
        mend = "see why, and what mends it: otel-dbevents dlq list"
        yield Finding(_TOPIC, "warning", f"{number} entries are in the dead letters", mend)

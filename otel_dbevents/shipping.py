"""Shipping: with a bus on Redis the application sends its events away, and makes no telemetry.

In: the settings and the providers. Out: a `Sender` for the bus in memory, and what the other side
must know of the application to make the same telemetry (`Origin`), which travels in each entry.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from opentelemetry.sdk.resources import Resource

from otel_dbevents.bridge.objective import Objective
from otel_dbevents.bridge.observations import Shown
from otel_dbevents.bridge.sampling import LAST_BYTES, Verdicts, verdicts_of
from otel_dbevents.bus.redis.connecting import RedisSetupError, check_package
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.config import Config, ConfigError
from otel_dbevents.redaction import plain_text
from otel_dbevents.swallowing import told

_MS: Final = 1_000_000
ALL: Final = LAST_BYTES + 1


class Origin(msgspec.Struct, frozen=True):
    """What an application says of itself: whose telemetry it is, and how it is to be made."""

    resource: dict[str, Any]
    schema_url: str = ""
    root_sampled: float | None = None
    """The share of traces sampled that begin here, where it is known; None: ask the sidecar's."""
    follows_parent: bool = True
    """Whether a child is sampled when its parent is, as is usual; else as roots are."""
    min_duration_ns: int = 0
    slow_query_ns: int = 0
    require_parent: bool = False
    fold_after: int = 0
    shown: Shown | None = None
    spans: bool = True
    metrics: bool = True
    logs: bool = True
    objective: Objective = Objective()


_encoder: Final = msgspec.msgpack.Encoder(enc_hook=str)
_decoder: Final = msgspec.msgpack.Decoder(Origin)


def keys_of(config: Config) -> Keyring | None:
    """Return the keys that the settings have; None where there are none."""
    current, previous = config.signing_keys()
    return Keyring(current, previous) if current else None


def read_origin(data: bytes) -> Origin:
    """Return what `Description` made into these bytes; raises `ValueError` for anything else."""
    return _decoder.decode(data)


def sender_of(config: Config, source: Callable[[], bytes]) -> Sender:
    """Return what ships the events; raises `ConfigError` where that cannot be.

    Nothing is connected here.
    """
    try:
        check_package()
    except RedisSetupError as error:
        raise ConfigError(f"OTEL_DBEVENTS_BUS_URL names a Redis, but {error}") from None
    return Sender(config.bus_url, config.stream, source=source, keys=keys_of(config))


class Description:
    """Describes the application, as soon as there is a provider that knows its resource.

    Until then it is what the ``OTEL_*`` variables say, as they would make the providers. They are
    read at the start: the SDK reads them on threads, and has none to begin when a process ends.
    """

    def __init__(
        self,
        config: Config,
        shown: Shown | None,
        providers: Callable[[], Mapping[str, Any]],
        objective: Objective = Objective(),  # noqa: B008 - it is immutable
    ) -> None:
        self._config, self._shown, self._providers = config, shown, providers
        self._objective = objective
        self._seen: tuple[object, object] | None = None
        self._said = b""
        self._by_variables = None if _resource_of(providers()) else _resource_by_variables()

    def __call__(self) -> bytes:
        """Return it as bytes."""
        providers = self._providers()
        resource = _resource_of(providers)
        sampler = getattr(providers.get("tracer"), "sampler", None)
        if self._seen is None or self._seen[0] is not resource or self._seen[1] is not sampler:
            self._said = self._describe(
                resource or self._by_variables or Resource.create(), sampler
            )
            self._seen = resource, sampler
        return self._said

    def _describe(self, resource: Resource, sampler: Any) -> bytes:
        config = self._config
        share, follows = _sampling(sampler)
        return _encoder.encode(
            Origin(
                {plain_text(name): _plain(value) for name, value in resource.attributes.items()},
                resource.schema_url or "",
                share,
                follows,
                int(config.min_duration_ms * _MS),
                int(config.slow_query_ms * _MS),
                config.require_parent,
                config.fold_after,
                self._shown,
                config.spans,
                config.metrics,
                config.logs,
                self._objective,
            )
        )


def _resource_of(providers: Mapping[str, Any]) -> Any:
    """Return what they say that they speak for. A meter provider's has no public name."""
    for each in providers.values():
        if found := getattr(each, "resource", None):
            return found
    for each in providers.values():
        found = getattr(getattr(each, "_sdk_config", None), "resource", None)
        found = found or getattr(each, "_resource", None)
        if isinstance(found, Resource):
            return found
    return None


def _resource_by_variables() -> Resource | None:
    """Return what the variables say; None where a detector that they name fails."""
    try:
        return Resource.create()
    except Exception as error:  # noqa: BLE001 - a detector of anybody's; it is tried once more
        told("description", error)
        return None


def _sampling(sampler: Any) -> tuple[float | None, bool]:
    """Return the share of roots that is sampled, and whether children follow their parents.

    None where the sampler is none of the SDK's own: then the sidecar's decides.
    """
    if sampler is None:
        return None, True
    found: Verdicts = verdicts_of(sampler)
    root = found[0]
    if root is None:
        return None, True
    if found[1:] == (0, ALL, 0, ALL):
        return root / ALL, True
    return (root / ALL, False) if len(set(found)) == 1 else (None, True)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value

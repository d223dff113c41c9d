"""Spans out of a Langfuse project: its observations, page by page, by its own client.

Langfuse keeps times in whole milliseconds, and metadata as numbers, texts, or texts with JSON in
them, depending on its version; the exact times are in the metadata.
"""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from otel_dbevents.report import keys
from otel_dbevents.report.keys import kept
from otel_dbevents.report.model import Span
from otel_dbevents.report.sources import SourceError

PAGE: Final = 1_000
"""Observations asked for at once: the most that Langfuse gives."""
RETRIES: Final = 8
"""How often a page is asked for again, after as long as Langfuse says, when it says "too many"."""
LONGEST_TURN: Final = timedelta(hours=1)
"""Observations that start so long after the end of the period still belong to its turns."""

_FIELDS: Final = "core,basic,metadata,model,prompt"
"""Not `io`: what the model was asked and answered stays where it is."""
_EXPANDED: Final = "db_slowest_query,db_repeated_query"
"""Values that may be longer than the 200 characters that Langfuse gives of each."""
_CLOUD: Final = "https://cloud.langfuse.com"
_KEYS: Final = ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY")
_HOSTS: Final = ("LANGFUSE_BASE_URL", "LANGFUSE_HOST")
_MENDS: Final = {
    401: "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY must be those of one project at this address",
    403: "the keys may not read observations: they must be a project's, not an organisation's",
    404: "this Langfuse has no /api/public/v2/observations: it must be of version 4 or newer",
    429: "Langfuse allows only so many requests a minute: choose a shorter time with --since",
}


class Api(Protocol):
    """What is used of Langfuse's client."""

    @property
    def observations(self) -> Any:
        """Its part for observations."""


def spans_of_langfuse(api: Api, since: datetime, until: datetime | None = None) -> Iterator[Span]:
    """Return the observations that started in a period. Raises `SourceError` when it is refused."""
    cursor = None
    asked: dict[str, Any] = {
        "fields": _FIELDS,
        "expand_metadata": _EXPANDED,
        "limit": PAGE,
        "from_start_time": since,
        "request_options": {"max_retries": RETRIES, "timeout_in_seconds": 60},
    }
    if until is not None:
        asked["to_start_time"] = until + LONGEST_TURN
    while True:
        try:
            page = api.observations.get_many(**asked, cursor=cursor)
        except Exception as error:
            raise _refused(error) from error
        for observation in page.data:
            if (span := _span(observation)) is not None:
                yield span
        further = getattr(page.meta, "cursor", None)
        if not further or further == cursor:
            return
        cursor = further


def client(environment: Mapping[str, str] | None = None) -> tuple[Api, str]:
    """Return Langfuse's client, by its own variables, and the address it speaks to.

    Raises `SourceError` where the extra is not installed or a key is missing. Nothing is traced.
    """
    known = os.environ if environment is None else environment
    try:
        from langfuse.api.client import LangfuseAPI
    except ImportError as error:
        raise SourceError(
            "Langfuse's client is not installed", "pip install 'otel-dbevents[langfuse]'"
        ) from error
    if missing := [name for name in _KEYS if not known.get(name)]:
        raise SourceError(
            f"{' and '.join(missing)} not set",
            "set both to the keys of the project (Langfuse: Settings, API Keys), and "
            "LANGFUSE_BASE_URL if it is not https://cloud.langfuse.com",
        )
    host = next(filter(None, (known.get(name) for name in _HOSTS)), _CLOUD).rstrip("/")
    if not host.startswith(("http://", "https://")):
        raise SourceError(f"LANGFUSE_BASE_URL is not a URL: {host}", "it begins with https://")
    public, secret = (known[name] for name in _KEYS)
    return LangfuseAPI(
        base_url=host,
        username=public,
        password=secret,
        x_langfuse_sdk_name="python",
        x_langfuse_public_key=public,
    ), host


def _refused(error: Exception) -> SourceError:
    status = getattr(error, "status_code", None)
    if status is None:
        return SourceError(
            f"Langfuse did not answer ({type(error).__name__})",
            "see whether LANGFUSE_BASE_URL is right and can be reached from here",
        )
    return SourceError(f"Langfuse answered {status}", _MENDS.get(status, ""))


def _span(observation: Any) -> Span | None:
    """Return an observation as a report reads it; None for one that has not ended."""
    if observation.end_time is None and observation.type != "EVENT":
        return None
    attributes = _attributes(observation)
    database = any(key in attributes for key in (keys.DB_SYSTEM, keys.SYSTEM_NAME, keys.OLD_SYSTEM))
    if database and not isinstance(_rest(observation), dict):
        # Its text would be its input, which is not asked for: that would be everybody's.
        attributes[keys.QUERY_SUMMARY] = observation.name or ""
    return Span(
        observation.trace_id or observation.id,
        observation.id,
        observation.parent_observation_id or "",
        observation.name or "",
        "otel_dbevents" if database else "langfuse-sdk",
        _nanoseconds(observation.start_time),
        _nanoseconds(observation.end_time or observation.start_time),
        str(getattr(observation.level, "value", observation.level)) == "ERROR",
        attributes,
    )


def _attributes(observation: Any) -> dict[str, Any]:
    metadata = observation.metadata if isinstance(observation.metadata, dict) else {}
    rest = _rest(observation)
    found = kept(rest) if isinstance(rest, dict) else {}
    found.update(kept({keys.METADATA + key: value for key, value in metadata.items()}))
    model = getattr(observation, "provided_model_name", None) or getattr(observation, "model", None)
    for key, value in (
        (keys.TYPE, observation.type),
        (keys.PROMPT_NAME, observation.prompt_name),
        (keys.PROMPT_VERSION, observation.prompt_version),
        (keys.MODEL, model),
    ):
        if value not in (None, ""):
            found[key] = str(value)
    return found


def _rest(observation: Any) -> Any:
    """Return the attributes that are not Langfuse's own."""
    metadata = observation.metadata
    return metadata.get("attributes") if isinstance(metadata, dict) else None


def _nanoseconds(time: datetime) -> int:
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    since = time - datetime(1970, 1, 1, tzinfo=UTC)
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000

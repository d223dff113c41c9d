"""Spans out of Jaeger's query API (v3), which answers with OTLP."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from otel_dbevents.report.model import Span
from otel_dbevents.report.otlp import spans_of_json
from otel_dbevents.report.sources import SourceError

MOST_TRACES: Final = 10_000
"""Jaeger gives the newest so many, and holds all of them in one answer."""
_PATIENCE: Final = 60.0


def spans_of_jaeger(
    url: str, service: str, since: datetime | None = None, until: datetime | None = None
) -> Iterator[Span]:
    """Return a service's spans. Raises `SourceError` where Jaeger does not answer with any."""
    if not url.startswith(("http://", "https://")):
        raise SourceError(
            f"not a URL: {url}", "it is that of Jaeger's page, http://localhost:16686"
        )
    asked = {
        "query.service_name": service,
        "query.start_time_min": _time(since or datetime(2000, 1, 1, tzinfo=UTC)),
        "query.start_time_max": _time(until or datetime(2100, 1, 1, tzinfo=UTC)),
        "query.num_traces": str(MOST_TRACES),
    }
    base = url.rstrip("/")
    try:
        with urlopen(f"{base}/api/v3/traces?{urlencode(asked)}", timeout=_PATIENCE) as answer:  # noqa: S310 - http alone, see above
            document = answer.read()
    except HTTPError as error:
        error.close()
        if error.code == 404:  # what it says for "none"
            known = _services(base)
            raise SourceError(
                f"Jaeger has no traces of {service!r} in that time",
                f"it knows {', '.join(known)}" if known else "it knows no service",
            ) from error
        raise SourceError(f"Jaeger answered {error.code}") from error
    except (URLError, TimeoutError, ConnectionError) as error:
        raise SourceError(f"Jaeger did not answer at {base}", "is its page there?") from error
    try:
        yield from spans_of_json(document)
    except ValueError as error:
        raise SourceError(f"{base} did not answer as Jaeger does: {error}") from error


def _services(base: str) -> list[str]:
    try:
        with urlopen(f"{base}/api/v3/services", timeout=_PATIENCE) as answer:  # noqa: S310
            return sorted(json.load(answer).get("services") or [])[:20]
    except (OSError, ValueError):
        return []


def _time(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

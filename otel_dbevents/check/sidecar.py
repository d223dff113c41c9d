"""What a sidecar says of itself: whether it goes on, and what it waits for."""

from collections.abc import Iterator
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from otel_dbevents.check import report
from otel_dbevents.check.report import Finding, short

_TOPIC: Final = "sidecar"
_open: Final = build_opener(ProxyHandler({})).open


def look_at_sidecar(where: str) -> Iterator[Finding]:
    """Ask the one at ``host:port`` (its option ``--http``)."""
    try:
        status, text = _get(where, "readyz")
        numbers = dict(
            line.rsplit(" ", 1)
            for line in _get(where, "metrics")[1].splitlines()
            if line and not line.startswith("#")
        )
        said = {name: float(number) for name, number in numbers.items()}
    except (OSError, HTTPException, ValueError) as error:
        mend = "start it: otel-dbevents sidecar; or correct HOST:PORT, as its option --http has it"
        cause = getattr(error, "reason", error)  # urllib's own words are around it
        why = cause.strerror if isinstance(cause, OSError) and cause.strerror else short(error)
        yield Finding(_TOPIC, "wrong", f"nothing to be heard of it at {where} ({why})", mend)
        return
    held = said.get("dbevents_sidecar_held_entries", 0)
    lag = said.get("dbevents_sidecar_lag_entries", 0)
    if status == 200:
        yield Finding(_TOPIC, "ok", f"at {where}: {lag:g} entries wait, {held:g} are in its hands")
        return
    since = max(
        said.get("dbevents_sidecar_collector_down_seconds", 0),
        said.get("dbevents_sidecar_redis_down_seconds", 0),
    )
    yield Finding(
        _TOPIC,
        "wrong",
        f"at {where}, for {since:.0f} s: {short(text)}; {held:g} entries are in its hands",
        "they wait in Redis, and nothing is lost until the stream is full: mend what it waits for",
    )


def _get(where: str, path: str) -> tuple[int, str]:
    try:
        with _open(f"http://{where}/{path}", timeout=report.PATIENCE / 2) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()

"""Writing: a roll-up as attributes of the span that it is about."""

import json
from typing import Any, Final

from otel_dbevents.events import CodeLocation, Statement
from otel_dbevents.llm import keys
from otel_dbevents.llm.kinds import attributes_of, scope_of
from otel_dbevents.llm.rollup import Repeated, RollUp

_MS: Final = 1_000_000
_DIGITS: Final = 3
_LONGEST: Final = 500
_LONGEST_REPEATED: Final = 200
_LEFT_FREE: Final = 16
"""So many of a span's attributes are left to whoever has it, where their number is limited."""
_DECODED_FROM: Final = 5


def write(span: Any, found: RollUp, end_ns: int) -> None:
    """Write a roll-up on an open span, whose end is (or now would be) at ``end_ns``.

    None of the attributes that are there gives way for it: what has no room is left out.
    """
    said = attributes_for(found, end_ns - (getattr(span, "start_time", None) or end_ns))
    if _decodes(*scope_of(span)):
        said = {key: _encoded(value) for key, value in said.items()}
    there = attributes_of(span)
    changed = {key: value for key, value in said.items() if there.get(key) != value}
    if changed:
        span.set_attributes(_with_room(span, changed))


def attributes_for(found: RollUp, lasted_ns: int) -> dict[str, Any]:
    """Return the attributes of a span that lasted so long, the most telling ones first."""
    said: dict[str, Any] = {
        keys.QUERY_COUNT: found.query_count,
        keys.TIME_MS: _ms(found.time_ns),
        keys.BUSY_MS: _ms(found.busy_ns),
    }
    if lasted_ns > 0:
        said[keys.SHARE] = round(min(1.0, found.busy_ns / lasted_ns), _DIGITS)
    if found.error_count:
        said[keys.ERROR_COUNT] = found.error_count
    if found.slowest is not None:
        said[keys.SLOWEST_MS] = _ms(found.slowest_ns)
        said[keys.SLOWEST_QUERY] = _cut(_text(found.slowest), _LONGEST)
    if found.repeated is not None:
        said[keys.REPEATED_QUERY] = _repeated(found.repeated)
    return said


def _ms(nanoseconds: int) -> float:
    return round(nanoseconds / _MS, _DIGITS)


def _repeated(repeated: Repeated) -> str:
    count, statement, place = repeated
    text = _cut(_text(statement), _LONGEST_REPEATED)
    return f"{count} x {text}{_at(place)}"


def _at(place: CodeLocation | None) -> str:
    return "" if place is None else f" at {place.file_path}:{place.line_number}"


def _text(statement: Statement) -> str:
    return statement.query_text or statement.query_summary


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _decodes(scope: str, version: str) -> bool:
    """Whether Langfuse takes texts in the metadata of this scope's spans for JSON."""
    major = version.partition(".")[0]
    return (
        scope.startswith(keys.LANGFUSE_SCOPE) and major.isdecimal() and int(major) >= _DECODED_FROM
    )


def _encoded(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else value


def _with_room(span: Any, said: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a full span would drop one of its other attributes for."""
    most = getattr(getattr(span, "_attributes", None), "maxlen", None)
    if not isinstance(most, int):
        return said
    there = attributes_of(span)
    room = most - _LEFT_FREE - len(there)
    if room >= len(said):
        return said
    kept = {key: value for key, value in said.items() if key in there}
    new = [item for item in said.items() if item[0] not in there]
    return kept | dict(new[: max(0, room)])

"""A report as one JSON document, for programs."""

from datetime import UTC, datetime
from typing import Any, Final

from msgspec import to_builtins

from otel_dbevents.report.findings import RULES, Change, Group, Report

_DIGITS: Final = 3


def document(report: Report) -> dict[str, Any]:
    """Return the report as plain values. Times in ms, shares 0 to 1; null = not known."""
    found: dict[str, Any] = to_builtins(report)
    found["total"] = _group(report.total) if report.total else None
    found["groups"] = [_group(each) for each in report.groups]
    found["changes"] = [_change(each) for each in report.changes]
    found["rules"] = dict(RULES)
    return _rounded(found)  # type: ignore[no-any-return]


def moment(nanoseconds: int) -> str:
    """Return a moment as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _group(group: Group) -> dict[str, Any]:
    found: dict[str, Any] = to_builtins(group)
    found["first"] = moment(found.pop("first_ns"))
    found["last"] = moment(found.pop("last_ns"))
    return found


def _change(change: Change) -> dict[str, Any]:
    found: dict[str, Any] = to_builtins(change)
    found["since"] = moment(found.pop("since_ns"))
    found["slower"] = change.slower
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value

"""How a report's values are written for people, on a terminal and on a page."""

import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from otel_dbevents.report.findings import Change, Group, Report, Spread, Verdict

DASH: Final = "-"
"""Stands for what the data do not say."""


def duration(ms: float | None) -> str:
    """Return a time with its unit, three digits of it."""
    if ms is None:
        return DASH
    if ms < 0.0005:
        return "0 ms"
    if ms < 1_000:
        return f"{_three(ms)} ms"
    if ms < 120_000:
        return f"{_three(ms / 1_000)} s"
    return f"{ms / 60_000:.1f} min"


def percent(share: float | None) -> str:
    """Return a share as whole percent; what is there but less than one is told from nothing."""
    if share is None:
        return DASH
    return "<1 %" if 0 < share < 0.005 else f"{share * 100:.0f} %"


def number(value: float | None) -> str:
    """Return a number, with a half where it is the mean of two."""
    return DASH if value is None else f"{value:,.1f}".removesuffix(".0")


def times(spread: Spread | None) -> str:
    """Return median and P95 of times."""
    return _both(spread, duration)


def shares(spread: Spread | None) -> str:
    """Return median and P95 of shares."""
    return _both(spread, percent)


def numbers(spread: Spread | None) -> str:
    """Return median and P95 of numbers."""
    return _both(spread, number)


def turns(count: int) -> str:
    """Return how many turns."""
    return "1 turn" if count == 1 else f"{count:,} turns"


def failures(group: Group) -> str:
    """Return how much failed."""
    if not group.known:
        return DASH
    if not group.failures:
        return "0"
    return f"{group.failures:,} in {group.failed_turns:,}"


def verdict(found: Verdict | None) -> str:
    """Return where most of the time went."""
    return DASH if found is None else f"{found.part} {percent(found.share)}"


def moment(nanoseconds: int) -> str:
    """Return a moment in UTC, to the minute."""
    when = datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC)
    return when.strftime("%Y-%m-%d %H:%M")


def change(found: Change) -> str:
    """Return a change as a sentence."""
    how = "slower" if found.slower else "faster"
    before, after = found.before.label, found.after.label
    what = f"{after} has been {how} in the database than {before}"
    if found.kind == "shift":
        what = f"{after} has been {how} in the database than it was before"
    elif before == after:
        what = (
            f"{after} with {found.after.model or '(no model)'} has been {how} in the database than "
        )
        what += f"with {found.before.model or '(no model)'}"
    numbers = f"median {duration(found.before_ms)} -> {duration(found.after_ms)}"
    if found.before_ms and found.after_ms:
        low, high = sorted((found.before_ms, found.after_ms))
        numbers += f", {_three(high / low)} x"
    return f"Since {moment(found.since_ns)} {what} ({numbers})"


def caveats(report: Report) -> list[str]:
    """Return what the numbers do not say, each as a sentence."""
    said: list[str] = []
    total = report.total
    if total is None:
        return said
    if unknown := total.turns - total.known:
        said.append(
            f"{unknown:,} of {turns(total.turns)} without a roll-up and without database spans: "
            "nothing was done in the database, or it was not observed. Not in its numbers."
        )
    if (unrolled := total.known - report.rolled_up) > 0:
        said.append(
            f"{turns(unrolled)} without a roll-up: the numbers are those of the database spans "
            "that were kept."
        )
    if report.unplaced:
        said.append(
            f"In {turns(report.unplaced)} with several prompts the data do not say which of them "
            "caused the database work: it counts in the total only."
        )
    if total.incomplete:
        said.append(
            f"In {turns(total.incomplete)} not every statement is known: how often and how long "
            "the queries below ran is at least what is said."
        )
    if report.late:
        said.append(f"{report.late:,} spans came too late for their trace and were left out.")
    if report.not_told:
        said.append(f"At least {report.not_told:,} more prompts are in the total only.")
    if total.sampled:
        said.append("Medians and P95 are of a sample, as there are so many turns.")
    return said


def _both(spread: Spread | None, said: Callable[[float | None], str]) -> str:
    return DASH if spread is None else f"{said(spread.median)} / {said(spread.p95)}"


def plain(text: str) -> str:
    """Return a text without what a terminal would obey; a name is whatever its author wrote."""
    return "".join(each if unicodedata.category(each)[0] != "C" else "?" for each in text)


def _three(value: float) -> str:
    """Return a number with three digits, or all that it has before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    text = f"{value:.1f}" if value >= 10 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".")

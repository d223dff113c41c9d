"""What must hold for every text; a complaint says what does not."""

import re

from otel_dbevents.sources import summary
from otel_dbevents.sources.text import TextFacts, analyze, masker
from tests.fuzz import reference

_MARK = re.compile(r"zq\d+q")


def complaint(sql: str, dialect: str) -> str:
    """Return what is wrong with what the analyser says of a text; empty when nothing is."""
    try:
        facts = analyze(sql, dialect=dialect)
        again = analyze(facts.text, dialect=dialect)
    except Exception as error:
        return f"raised {type(error).__name__}"
    if again.text != facts.text:
        return "sanitising twice changes the text"
    if len(facts.text) > masker.LIMIT or len(facts.summary) > summary.LIMIT:
        return "too long"
    return _survivor(sql, dialect, facts)


def _survivor(sql: str, dialect: str, facts: TextFacts) -> str:
    told = f"{facts.text} {facts.summary} {facts.procedure}"
    if "zq" not in told or dialect not in reference.DIALECTS:
        return ""
    hidden = reference.literals_and_comments(sql, dialect)
    in_the_open = {
        found[0]
        for found in _MARK.finditer(sql)
        if not any(begin <= found.start() and found.end() <= end for begin, end in hidden)
    }
    leaked = set(_MARK.findall(told)) - in_the_open
    return "a literal or comment survives" if leaked else ""


def smallest(sql: str, dialect: str, wrong: str) -> str:
    """Return the text with as much left out as still brings the complaint."""
    size = len(sql) // 2
    while size:
        at = 0
        while at < len(sql):
            shorter = sql[:at] + sql[at + size :]
            if complaint(shorter, dialect) == wrong:
                sql = shorter
            else:
                at += size
        size //= 2
    return sql

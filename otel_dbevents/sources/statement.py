"""What an SQL statement says, found once per statement text: from the tree, else from the text."""

from typing import Any, NamedTuple

from otel_dbevents.events import Statement
from otel_dbevents.sources import text, tree

_CAPACITY = 2_000


class Known(NamedTuple):
    """A statement and whether it returns rows; None where only the cursor can tell."""

    statement: Statement
    returns_rows: bool | None


class Statements:
    """The statements of one dialect by their text. Bounded: the oldest is forgotten first."""

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._known: dict[str, Known] = {}

    def find(self, sql: str, context: Any) -> Known:
        """Return what ``sql`` says; ``context`` is SQLAlchemy's execution context."""
        known = self._known.get(sql)
        if known is None:
            known = _read(sql, getattr(context, "compiled", None), self._dialect)
            if len(self._known) >= _CAPACITY:
                self._known.pop(next(iter(self._known)), None)
            self._known[sql] = known
        return known


def _read(sql: str, compiled: Any, dialect: str) -> Known:
    said = text.analyze(sql, dialect=dialect)
    element = getattr(compiled, "statement", None)
    if element is None:
        return Known(Statement(said.text, said.summary, writes=said.writes), None)
    summary = tree.summarize(element)
    operation, collection = tree.operation_and_collection(element) or ("", "")
    writes = tree.writes(element)
    statement = Statement(
        said.text,
        said.summary if summary is None else summary,
        operation,
        str(collection),  # SQLAlchemy's quoted_name is no plain str
        said.writes if writes is None else writes,
    )
    return Known(statement, _returns_rows(element, compiled))


def _returns_rows(element: Any, compiled: Any) -> bool | None:
    if getattr(element, "is_select", False):
        return True
    if getattr(element, "is_dml", False):
        return bool(getattr(compiled, "effective_returning", None))
    return None

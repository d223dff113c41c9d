"""What an SQL statement says, found once per statement text: from the tree, else from the text."""

from typing import Any

from msgspec import Struct

from otel_dbevents.events import Statement
from otel_dbevents.living import make_room
from otel_dbevents.sources import text, tree

_CAPACITY = 2_000
KNOWN = "_otel_dbevents_known"
"""Where a compiled statement keeps what it says."""


class Known(Struct, frozen=True):
    """A statement and whether it returns rows; None where only the cursor can tell."""

    statement: Statement
    returns_rows: bool | None


class Statements:
    """The statements of one dialect. Bounded: the oldest is forgotten first.

    They are known by their compiled form, which SQLAlchemy keeps for all executions of one
    statement whatever the length of its IN lists and batches, else by their text.
    """

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._known: dict[str, Known] = {}

    def find(self, sql: str, context: Any) -> Known:
        """Return what ``sql`` says; ``context`` is SQLAlchemy's execution context."""
        compiled = None if context is None else context.compiled
        if compiled is None:
            return self._by_text(sql, None)
        known: Known | None = compiled.__dict__.get(KNOWN)
        if known is None:
            known = self._by_text(sql, compiled)
            if compiled.schema_translate_map is None:  # else each execution may name other schemas
                compiled.__dict__[KNOWN] = known
        return known

    def _by_text(self, sql: str, compiled: Any) -> Known:
        known = self._known.get(sql)
        if known is None:
            known = _read(sql, compiled, self._dialect)
            make_room(self._known, _CAPACITY)
            self._known[sql] = known
        return known


def _read(sql: str, compiled: Any, dialect: str) -> Known:
    said = text.analyze(sql, dialect=dialect)
    statement = Statement(
        said.text, said.summary, writes=said.writes, stored_procedure_name=said.procedure
    )
    element = getattr(compiled, "statement", None)
    if element is None:
        return Known(statement, None)
    found = tree.read(element)
    if found is not None:
        # SQLAlchemy's quoted_name is no plain str
        operation, collection = str(found.operation), str(found.collection)
        statement = Statement(said.text, found.summary, operation, collection, found.writes)
    return Known(statement, _returns_rows(element, compiled))


def _returns_rows(element: Any, compiled: Any) -> bool | None:
    if getattr(element, "is_select", False):
        return True
    if getattr(element, "is_dml", False):
        return bool(getattr(compiled, "effective_returning", None))
    return None

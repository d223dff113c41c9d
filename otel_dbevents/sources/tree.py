"""What a statement tree says: summary, operation, collection, and whether it may change anything.

SQLAlchemy's own compiler walks the tree, so that order, correlation, CTEs and what the ORM adds
(joins of eager loading, inheritance) are as in the SQL that is sent. The text it makes here is not
sent anywhere: it only carries marks at operations and tables, and the marks are what is read.
Names are plain, without quotes; schema and table are joined by a dot. The rules for the summary are
those of `otel_dbevents.sources.summary`.

Where this and the text of the same statement disagree, the tree is right: the text has the quotes
the dialect needs and the schema after translation, it names the SELECT by which PostgreSQL sorts
the rows of a bulk INSERT and the one by which SQLite writes an empty list, and MySQL and Oracle put
the CTEs of an INSERT behind its table. FOR UPDATE counts as a change also for SQLite, which leaves
it out.

Nothing here raises: what is not understood gives None, and the caller reads the text.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy.engine.default import StrCompileDialect
from sqlalchemy.sql.compiler import IdentifierPreparer, StrSQLCompiler
from sqlalchemy.sql.ddl import BaseDDLElement
from sqlalchemy.sql.elements import ClauseElement, TextClause
from sqlalchemy.sql.functions import FunctionElement

from otel_dbevents.sources.summary import join_parts
from otel_dbevents.swallowing import told


class TreeFacts(NamedTuple):
    """What a statement tree says."""

    summary: str
    """Operations and targets (``db.query.summary``)."""
    writes: bool
    """Whether it changes data or schema, or locks rows for that."""
    operation: str
    """The one operation there is (``db.operation.name``), or empty."""
    collection: str
    """The one table it works on (``db.collection.name``), or empty."""


def read(statement: Any) -> TreeFacts | None:
    """Return what an executable statement says; None for `text()` and what is not understood.

    One walk answers all questions; `summarize`, `writes` and `operation_and_collection` walk anew.
    """
    try:
        return _read(statement)
    except Exception as error:  # noqa: BLE001 - a construct we cannot walk is read from its text
        if not isinstance(error, _NotUnderstoodError):
            told("statement tree", error)
        return None


def summarize(statement: Any) -> str | None:
    """Return ``db.query.summary`` from a statement tree (semantic conventions 1.44)."""
    facts = read(statement)
    return facts and facts.summary


def writes(statement: Any) -> bool | None:
    """Return whether the statement may change data or schema, or locks rows for that."""
    facts = read(statement)
    return facts and facts.writes


def operation_and_collection(statement: Any) -> tuple[str, str] | None:
    """Return ``db.operation.name`` and ``db.collection.name`` of a statement that has one of each.

    The conventions allow both from an API above SQL that knows there is only one of them; a
    statement with subselects, several tables or none gives None.
    """
    facts = read(statement)
    return (facts.operation, facts.collection) if facts and facts.collection else None


def _read(statement: Any) -> TreeFacts | None:
    if isinstance(statement, BaseDDLElement):
        return _read_definition(statement)
    if isinstance(statement, FunctionElement):
        statement = statement.select()
    if isinstance(statement, TextClause) or not isinstance(statement, ClauseElement):
        return None
    compiled: Any = statement.compile(dialect=_DIALECT)
    text = str(compiled)
    marks = _MARK.findall(text)
    operations = [name for kind, name in marks if kind == _OPERATION]
    selects = len(_SELECT.findall(_MARK.sub("", text)))
    if not _BEGINNING.match(text) or selects != operations.count("SELECT"):
        return None  # a construct of the application's own writes SQL that is not marked
    changes = any(operation != "SELECT" for operation in operations)
    alone = len(operations) == 1 and len({mark for mark in marks if mark[0] != _OPERATION}) == 1
    table = next((name for kind, name in marks if kind == _TABLE), "") if alone else ""
    summary = join_parts([name for _, name in marks])
    return TreeFacts(summary, changes or compiled.locks, operations[0] if table else "", table)


_TABLES = {
    "create_table": "CREATE TABLE",
    "drop_table": "DROP TABLE",
    "create_table_as": "CREATE TABLE",
    "create_view": "CREATE VIEW",
    "drop_view": "DROP VIEW",
    "set_table_comment": "COMMENT ON TABLE",
    "drop_table_comment": "COMMENT ON TABLE",
}
_CONSTRAINTS = {"add_constraint": "ALTER TABLE", "drop_constraint": "ALTER TABLE"}
_OTHERS = {
    "create_index": "CREATE INDEX",
    "drop_index": "DROP INDEX",
    "create_sequence": "CREATE SEQUENCE",
    "drop_sequence": "DROP SEQUENCE",
    "create_schema": "CREATE SCHEMA",
    "drop_schema": "DROP SCHEMA",
}


def _read_definition(statement: Any) -> TreeFacts | None:
    """Read a DDL construct; None for `DDL()`, which is text."""
    kind = statement.__visit_name__
    if kind in _OTHERS:
        element = statement.element
        name = element if isinstance(element, str) else _dotted(element)
        return TreeFacts(f"{_OTHERS[kind]} {name}", True, "", "")
    if kind in _CONSTRAINTS:
        operation, table = _CONSTRAINTS[kind], statement.element.table
    elif kind in _TABLES:
        operation, table = _TABLES[kind], getattr(statement, "table", None)
        table = statement.element if table is None else table
    else:
        return None
    if getattr(statement, "materialized", False):
        operation = operation.replace("VIEW", "MATERIALIZED VIEW")
    selectable = getattr(statement, "selectable", None)
    if selectable is None:
        return TreeFacts(f"{operation} {table.fullname}", True, operation, table.fullname)
    selected = _read(selectable)
    return selected and TreeFacts(
        join_parts([operation, table.fullname, selected.summary]), True, "", ""
    )


def _dotted(element: Any) -> str:
    schema = getattr(element, "schema", None)
    return f"{schema}.{element.name}" if schema else str(element.name)


_OPERATION, _TABLE, _FUNCTION = "o", "t", "f"
_MARK = re.compile("\x01([otf])([^\x02]*)\x02")
_BEGINNING = re.compile("[\\s(]*(?:WITH\\b|(\\w+) [^\x01\x02]*\x01o\\1\x02)")
_SELECT = re.compile(r'(?i)(?<![\w":.])SELECT(?![\w"])')
_TELLING = re.compile(r"(?i)\b(?:SELECT|INSERT|UPDATE|DELETE|MERGE|INTO|LOCK)\b")
"""Words that say more, in a piece of text, than is seen from the tree."""


def _mark(kind: str, name: str) -> str:
    return f"\x01{kind}{name}\x02"


class _NotUnderstoodError(Exception):
    """A piece of text stands where it may hold operations or tables."""


class _Preparer(IdentifierPreparer):
    """Writes the table of an INSERT as a mark."""

    def format_table(self, table: Any, *_args: Any, **_options: Any) -> str:
        return _mark(_TABLE, table.fullname)


class _MarkingCompiler(StrSQLCompiler):
    """Compiles a statement to text that holds marks where operations and targets stand."""

    locks = False
    """Whether a SELECT locks rows."""
    _joined = False
    """Whether the tables being written are those an UPDATE or DELETE joins to."""

    def get_select_precolumns(self, select: Any, **options: Any) -> Any:
        return _mark(_OPERATION, "SELECT") + super().get_select_precolumns(select, **options)

    def visit_select(self, select_stmt: Any, *args: Any, **options: Any) -> Any:
        return self._visit(super().visit_select, select_stmt, *args, **options)

    def visit_insert(self, insert_stmt: Any, *args: Any, **options: Any) -> Any:
        return self._visit(super().visit_insert, _marked(insert_stmt, "INSERT"), *args, **options)

    def visit_update(self, update_stmt: Any, *args: Any, **options: Any) -> Any:
        return self._visit(super().visit_update, _marked(update_stmt, "UPDATE"), *args, **options)

    def visit_delete(self, delete_stmt: Any, *args: Any, **options: Any) -> Any:
        return self._visit(super().visit_delete, _marked(delete_stmt, "DELETE"), *args, **options)

    def update_from_clause(self, *args: Any, **options: Any) -> Any:
        return self._visit(super().update_from_clause, *args, joined=True, **options)

    def delete_extra_from_clause(self, *args: Any, **options: Any) -> Any:
        return self._visit(super().delete_extra_from_clause, *args, joined=True, **options)

    def _visit(
        self, visit: Callable[..., Any], *args: Any, joined: bool = False, **options: Any
    ) -> Any:
        outer, self._joined = self._joined, joined
        try:
            return visit(*args, **options)
        finally:
            self._joined = outer

    def visit_table(self, table: Any, *args: Any, asfrom: bool = False, **options: Any) -> Any:
        if asfrom:
            return "" if self._joined else _mark(_TABLE, table.fullname)
        parent: Any = super()
        return parent.visit_table(table, *args, **options)

    def visit_function(self, func: Any, *args: Any, **options: Any) -> Any:
        text = super().visit_function(func, *args, **{**options, "asfrom": False})
        if not options.get("asfrom") or self._joined:
            return text
        return _mark(_FUNCTION, ".".join((*func.packagenames, func.name))) + text

    def visit_textclause(self, textclause: Any, *args: Any, **options: Any) -> Any:
        text = textclause.text
        if not text.startswith("\x01") and (options.get("asfrom") or _TELLING.search(text)):
            raise _NotUnderstoodError
        parent: Any = super()
        return parent.visit_textclause(textclause, *args, **options)

    def visit_textual_select(self, *_args: Any, **_options: Any) -> str:
        raise _NotUnderstoodError

    def visit_column(self, column: Any, *args: Any, **options: Any) -> Any:
        if column.is_literal and _TELLING.search(column.name):
            raise _NotUnderstoodError
        return super().visit_column(column, *args, **options)

    def for_update_clause(self, *args: Any, **options: Any) -> Any:
        self.locks = True
        parent: Any = super()
        return parent.for_update_clause(*args, **options)


def _marked(statement: Any, operation: str) -> Any:
    return statement.prefix_with(_mark(_OPERATION, operation))


class _MarkingDialect(StrCompileDialect):
    statement_compiler = _MarkingCompiler
    preparer = _Preparer


_DIALECT = _MarkingDialect()

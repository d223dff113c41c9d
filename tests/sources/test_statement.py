"""What is found out once about a statement, and when it is found out anew."""

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, func, insert, select, text
from sqlalchemy.dialects import sqlite

from otel_dbevents.sources import statement
from otel_dbevents.sources.statement import Statements
from tests.sources.engines import Told

items = Table("items", MetaData(), Column("id", Integer, primary_key=True))


def context(element: Any, **options: Any) -> SimpleNamespace:
    return SimpleNamespace(compiled=element.compile(dialect=sqlite.dialect(), **options))


def test_the_same_text_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = statement._read
    monkeypatch.setattr(statement, "_read", lambda *a: read.append(a) or original(*a))
    statements = Statements("sqlite")
    first = statements.find("SELECT 1", None)
    assert statements.find("SELECT 1", None) is first
    assert len(read) == 1


def test_in_lists_of_any_length_are_one_statement(told: Told, source: Any) -> None:
    engine = create_engine("sqlite://")
    items.metadata.create_all(engine)
    told.forget()
    with engine.connect() as connection:
        for length in (1, 2, 5):
            connection.execute(select(items).where(items.c.id.in_(range(length)))).all()
    found = {id(event.statement) for event in told.events if hasattr(event, "statement")}
    assert len(found) == 1
    assert "IN (?)" in told.events[1].statement.query_text
    engine.dispose()


def test_with_translated_schemas_each_text_is_read_for_itself() -> None:
    statements = Statements("sqlite")
    translated = context(select(items), schema_translate_map={None: "one"})
    one = statements.find("SELECT one.items.id FROM one.items", translated)
    two = statements.find("SELECT two.items.id FROM two.items", translated)
    assert "two" in two.statement.query_text
    assert one is not two


def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "_CAPACITY", 3)
    statements = Statements("sqlite")
    for number in range(10):
        statements.find(f"SELECT * FROM t{number}", None)
    assert len(statements._known) == 3
    assert "SELECT * FROM t9" in statements._known


@pytest.mark.parametrize(
    ("element", "returns"),
    [
        (select(items), True),
        (insert(items), False),
        (insert(items).returning(items.c.id), True),
        (text("SELECT 1"), None),
    ],
)
def test_whether_rows_come_back_is_known_from_the_tree(element: Any, returns: bool | None) -> None:
    assert Statements("sqlite").find("whatever", context(element)).returns_rows is returns


def test_operation_and_collection_come_from_the_tree_and_not_from_the_text() -> None:
    statements = Statements("sqlite")
    tree = statements.find("SELECT items.id FROM items", context(select(items))).statement
    assert (tree.operation_name, tree.collection_name) == ("SELECT", "items")
    plain = statements.find("SELECT id FROM items", context(text("SELECT id FROM items"))).statement
    assert (plain.operation_name, plain.collection_name) == ("", "")
    assert plain.query_summary == "SELECT items"


def test_the_procedure_is_told_for_driver_sql_and_for_text_with_parameters() -> None:
    statements, sql = Statements("mysql"), "CALL shop.restock(%s)"
    for found in (None, context(text("CALL shop.restock(:a)"))):
        told = statements.find(sql, found).statement
        assert told.stored_procedure_name == "shop.restock"
        assert told.query_summary == "CALL shop.restock"
    of_tree = statements.find("SELECT restock()", context(select(func.restock()))).statement
    assert of_tree.stored_procedure_name == ""

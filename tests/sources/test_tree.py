"""What the statement tree tells, and that the text of the same statement tells the same."""

from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import (
    AddConstraint,
    CreateIndex,
    CreateSchema,
    CreateSequence,
    CreateTable,
    DropConstraint,
    DropIndex,
    DropSchema,
    DropSequence,
    DropTable,
    SetTableComment,
)
from sqlalchemy.sql.expression import ClauseElement, ColumnElement, Executable

from otel_dbevents.sources import tree
from otel_dbevents.sources.statement import Statements
from otel_dbevents.sources.text import analyze

metadata = sa.MetaData()
users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(50)),
    sa.Column("active", sa.Boolean),
)
orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.ForeignKey("users.id")),
    sa.Column("total", sa.Numeric(10, 2)),
    schema="shop",
)
reserved = sa.Table("order", metadata, sa.Column("Select", sa.Integer, primary_key=True))


class Base(orm.DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id = orm.mapped_column(sa.Integer, primary_key=True)
    name = orm.mapped_column(sa.String(50))
    books = orm.relationship("Book")


class Book(Base):
    __tablename__ = "books"
    id = orm.mapped_column(sa.Integer, primary_key=True)
    author_id = orm.mapped_column(sa.ForeignKey("authors.id"))


recent = sa.select(users.c.id).where(users.c.id > 5).cte("recent")
_root = sa.select(users.c.id).cte("family", recursive=True)
family = _root.union_all(sa.select(users.c.id).join(_root, _root.c.id == users.c.id))
newest = sa.select(sa.func.max(orders.c.id)).where(orders.c.user_id == users.c.id)
removed = sa.delete(users).returning(users.c.id).cte("removed")

# name: statement, summary, writes, operation and collection
READS = {
    "select": (sa.select(users), "SELECT users", ("SELECT", "users")),
    "no table": (sa.select(sa.literal(1)), "SELECT", None),
    "alias": (sa.select(users.alias("u")), "SELECT users", ("SELECT", "users")),
    "self join": (
        sa.select(users).join(users.alias("u"), sa.true()),
        "SELECT users users",
        ("SELECT", "users"),
    ),
    "join": (sa.select(users).join(orders), "SELECT users shop.orders", None),
    "two tables": (
        sa.select(users, orders).where(users.c.id == orders.c.user_id),
        "SELECT users shop.orders",
        None,
    ),
    "nested join": (
        sa.select(users).outerjoin(
            sa.join(orders, Book.__table__, orders.c.id == Book.id), users.c.id == orders.c.user_id
        ),
        "SELECT users shop.orders books",
        None,
    ),
    "subquery": (sa.select(sa.select(users).subquery()), "SELECT SELECT users", None),
    "scalar subquery": (
        sa.select(users.c.id, newest.scalar_subquery()),
        "SELECT SELECT shop.orders users",
        None,
    ),
    "correlated": (
        sa.select(users).where(newest.correlate(users).scalar_subquery() > 5),
        "SELECT users SELECT shop.orders",
        None,
    ),
    "exists": (
        sa.select(users).where(sa.exists().where(orders.c.user_id == users.c.id)),
        "SELECT users SELECT shop.orders",
        None,
    ),
    "in values": (
        sa.select(users).where(users.c.id.in_([1, 2, 3])),
        "SELECT users",
        ("SELECT", "users"),
    ),
    "in select": (
        sa.select(users).where(users.c.id.in_(sa.select(orders.c.user_id))),
        "SELECT users SELECT shop.orders",
        None,
    ),
    "union": (
        sa.union(sa.select(users.c.id), sa.select(orders.c.id)).order_by("id"),
        "SELECT users SELECT shop.orders",
        None,
    ),
    "union inside": (
        sa.select(sa.union_all(sa.select(users.c.id), sa.select(orders.c.id)).subquery()),
        "SELECT SELECT users SELECT shop.orders",
        None,
    ),
    "cte": (sa.select(recent), "SELECT users SELECT", None),
    "cte and table": (
        sa.select(orders).join(recent, recent.c.id == orders.c.user_id),
        "SELECT users SELECT shop.orders",
        None,
    ),
    "recursive cte": (sa.select(family), "SELECT users SELECT users SELECT", None),
    "lateral": (
        sa.select(users, newest.lateral("l")),
        "SELECT users SELECT shop.orders",
        None,
    ),
    "table function": (
        sa.select(sa.func.generate_series(1, 3).table_valued("value")),
        "SELECT generate_series",
        None,
    ),
    "function": (sa.select(sa.func.lower("x")), "SELECT", None),
    "values": (
        sa.select(sa.values(sa.column("a", sa.Integer), name="v").data([(1,), (2,)])),
        "SELECT",
        None,
    ),
    "entity": (sa.select(Author), "SELECT authors", ("SELECT", "authors")),
    "entity alias": (sa.select(orm.aliased(Author)), "SELECT authors", ("SELECT", "authors")),
    "relationship": (sa.select(Author).join(Author.books), "SELECT authors books", None),
    "eager": (
        sa.select(Author).options(orm.joinedload(Author.books)),
        "SELECT authors books",
        None,
    ),
    "eager with limit": (
        sa.select(Author).options(orm.joinedload(Author.books)).limit(3),
        "SELECT SELECT authors books",
        None,
    ),
    "any": (sa.select(Author).where(Author.books.any()), "SELECT authors SELECT books", None),
}

CHANGES = {
    "insert": (sa.insert(users).values(name="x"), "INSERT users", ("INSERT", "users")),
    "insert rows": (
        sa.insert(users).values([{"name": "x"}, {"name": "y"}]),
        "INSERT users",
        ("INSERT", "users"),
    ),
    "insert entity": (sa.insert(Author).values(name="x"), "INSERT authors", ("INSERT", "authors")),
    "insert select": (
        sa.insert(users).from_select(["id"], sa.select(orders.c.user_id)),
        "INSERT users SELECT shop.orders",
        None,
    ),
    "update": (sa.update(users).values(name="x"), "UPDATE users", ("UPDATE", "users")),
    "update entity": (
        sa.update(Author).where(Author.id == 4).values(name="x"),
        "UPDATE authors",
        ("UPDATE", "authors"),
    ),
    "update from subquery": (
        sa.update(users).values(name=newest.scalar_subquery()),
        "UPDATE users SELECT shop.orders",
        None,
    ),
    "update from": (
        sa.update(users).values(name="x").where(users.c.id == orders.c.user_id),
        "UPDATE users",
        ("UPDATE", "users"),
    ),
    "update from cte": (
        sa.update(orders).values(total=1).where(orders.c.user_id == recent.c.id),
        "SELECT users UPDATE shop.orders",
        None,
    ),
    "delete": (sa.delete(users), "DELETE users", ("DELETE", "users")),
    "delete entity": (sa.delete(Author), "DELETE authors", ("DELETE", "authors")),
    "delete subquery": (
        sa.delete(users).where(users.c.id.in_(sa.select(orders.c.user_id))),
        "DELETE users SELECT shop.orders",
        None,
    ),
    "delete using": (
        sa.delete(users).where(users.c.id == orders.c.user_id),
        "DELETE users",
        ("DELETE", "users"),
    ),
    "delete in cte": (sa.select(removed), "DELETE users SELECT", None),
    "create table": (CreateTable(users), "CREATE TABLE users", ("CREATE TABLE", "users")),
    "drop table": (DropTable(orders), "DROP TABLE shop.orders", ("DROP TABLE", "shop.orders")),
    "create index": (CreateIndex(sa.Index("ix", users.c.name)), "CREATE INDEX ix", None),
    "create schema": (CreateSchema("shop"), "CREATE SCHEMA shop", None),
    "drop schema": (DropSchema("shop"), "DROP SCHEMA shop", None),
}

STATEMENTS = READS | CHANGES
DIALECTS = (sqlite.dialect(), postgresql.dialect(), mysql.dialect())


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_tree_tells_operations_and_targets_in_the_order_of_the_text(name):
    statement, summary, _ = STATEMENTS[name]
    assert tree.summarize(statement) == summary


@pytest.mark.parametrize("name", STATEMENTS)
def test_operation_and_collection_are_told_when_there_is_one_of_each(name):
    statement, _, expected = STATEMENTS[name]
    assert tree.operation_and_collection(statement) == expected


@pytest.mark.parametrize("name", STATEMENTS)
def test_reads_and_changes_are_told_apart(name):
    assert tree.writes(STATEMENTS[name][0]) is (name in CHANGES)


@pytest.mark.parametrize(
    ("name", "dialect"),
    [
        pytest.param(name, dialect, id=f"{name}-{dialect.name}")
        for name in STATEMENTS
        for dialect in DIALECTS
        if (name, dialect.name) != ("delete using", "sqlite")  # which has no such statement
    ],
)
def test_the_text_of_a_statement_tells_the_same(name, dialect):
    statement = STATEMENTS[name][0]
    facts = analyze(_sql(statement, dialect), dialect=dialect.name)
    assert facts.summary == tree.summarize(statement)
    assert facts.writes is tree.writes(statement)


def _sql(statement: sa.Executable, dialect: DefaultDialect) -> str:
    if isinstance(statement, sa.sql.ddl.BaseDDLElement):
        return str(statement.compile(dialect=dialect))
    return str(statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True}))


def test_where_text_and_tree_disagree_the_tree_leaves_out_what_the_dialect_adds():
    quoted = sa.select(reserved)
    assert tree.summarize(quoted) == "SELECT order"
    assert analyze(_sql(quoted, mysql.dialect())).summary == "SELECT `order`"

    nothing = sa.select(users).where(users.c.id.in_([]))
    assert tree.summarize(nothing) == "SELECT users"
    assert analyze(_sql(nothing, sqlite.dialect())).summary == "SELECT users SELECT SELECT"

    copied = sa.insert(orders).from_select(["user_id"], sa.select(recent.c.id))
    assert tree.summarize(copied) == "SELECT users INSERT shop.orders SELECT"
    assert analyze(_sql(copied, mysql.dialect())).summary == (
        "INSERT shop.orders SELECT users SELECT"
    )


def test_locking_rows_counts_as_a_change():
    statement = sa.select(users).with_for_update()
    assert tree.writes(statement) is True
    assert tree.summarize(statement) == "SELECT users"


@pytest.mark.newest  # early in SQLAlchemy 2.0 the clause cannot be walked: the text is read
def test_an_upsert_is_an_insert():
    values = {"name": "x"}
    for statement in (
        postgresql.insert(users).values(values).on_conflict_do_update("pk", set_=values),
        sqlite.insert(users).values(values).on_conflict_do_nothing(),
        mysql.insert(users).values(values).on_duplicate_key_update(name="y"),
    ):
        assert tree.summarize(statement) == "INSERT users"


def test_definitions_of_other_things_are_told_by_name():
    unique = sa.UniqueConstraint(orders.c.user_id, name="uq")
    sequence = sa.Sequence("numbers", schema="shop")
    assert tree.summarize(AddConstraint(unique)) == "ALTER TABLE shop.orders"
    assert tree.summarize(DropConstraint(unique)) == "ALTER TABLE shop.orders"
    assert tree.summarize(CreateSequence(sequence)) == "CREATE SEQUENCE shop.numbers"
    assert tree.summarize(DropSequence(sequence)) == "DROP SEQUENCE shop.numbers"
    assert tree.summarize(DropIndex(sa.Index("ix_2", users.c.name))) == "DROP INDEX ix_2"
    assert tree.summarize(SetTableComment(users)) == "COMMENT ON TABLE users"


@pytest.mark.newest
def test_a_view_and_a_copy_name_what_they_select():
    view = sa.schema.CreateView(sa.select(users), "v", materialized=True)
    copy = sa.schema.CreateTableAs(sa.select(users), "copy", schema="shop")
    assert tree.summarize(view) == "CREATE MATERIALIZED VIEW v SELECT users"
    assert tree.summarize(copy) == "CREATE TABLE shop.copy SELECT users"
    assert tree.operation_and_collection(copy) is None


@pytest.mark.parametrize(
    "statement",
    [
        sa.text("SELECT 1"),
        sa.text("SELECT 1 AS a").columns(sa.column("a")),
        sa.select(sa.text("a")).select_from(sa.text("users")),
        sa.select(users).where(sa.text("id IN (SELECT 1)")),
        sa.select(sa.literal_column("(SELECT 1)")),
        sa.select(Author).from_statement(sa.text("SELECT * FROM authors")),
        sa.DDL("DROP TABLE users"),
        users.c.id == 5,
        None,
        "SELECT 1",
        object(),
    ],
    ids=lambda statement: type(statement).__name__,
)
def test_what_holds_text_is_left_to_the_text(statement):
    assert tree.read(statement) is None
    assert tree.summarize(statement) is None
    assert tree.writes(statement) is None
    assert tree.operation_and_collection(statement) is None


class CopyInto(Executable, ClauseElement):
    """A statement of the application's own."""

    inherit_cache = False

    def __init__(self, verb, table, selected):
        self.verb, self.table, self.selected = verb, table, selected


@compiles(CopyInto)
def _copy_into(element, compiler, **options):
    table = compiler.process(element.table, asfrom=True, **options)
    return f"{element.verb} {table} ({compiler.process(element.selected, **options)})"


class Newest(ColumnElement):
    """A column of the application's own that reads a table."""

    inherit_cache = True
    type = sa.Integer()


@compiles(Newest)
def _newest(element, compiler, **options):
    return "(select max(id) from audit)"


@pytest.mark.parametrize(
    ("statement", "summary", "changes"),
    [
        (CopyInto("INSERT INTO", users, sa.select(orders.c.id)),
         "INSERT users SELECT shop.orders", True),
        (CopyInto("CREATE VIEW v AS SELECT * FROM", users, sa.select(orders.c.id)),
         "CREATE VIEW v SELECT users SELECT shop.orders", True),
        (sa.select(users.c.id, Newest()), "SELECT select audit users", False),
        (sa.select(users.c.id).suffix_with("FOR UPDATE"), "SELECT users", True),
        (sa.select(users.c.id).where(sa.literal_column("pg_lock(1)") == 1), "SELECT users", False),
        (sa.select(users.c.id).prefix_with("SQL_NO_CACHE"), "SELECT users", False),
    ],
)  # fmt: skip
def test_sql_that_the_application_adds_to_a_statement_is_read_too(statement, summary, changes):
    sql = _sql(statement, postgresql.dialect())
    known = Statements("postgresql").find(
        sql, SimpleNamespace(compiled=statement.compile(dialect=postgresql.dialect()))
    )
    assert known.statement.query_summary == summary
    assert known.statement.writes is changes


def test_a_statement_stays_as_it_was():
    statement = sa.insert(users).from_select(["id"], sa.select(orders.c.user_id))
    before = str(statement)
    tree.read(statement)
    assert str(statement) == before


def test_what_is_executed_is_understood():
    """The tree as SQLAlchemy hands it to a listener, with the ORM's own statements."""
    engine = sa.create_engine("sqlite://")
    seen = []

    @sa.event.listens_for(engine, "before_cursor_execute")
    def listen(_connection, _cursor, sql, _parameters, context, _many):
        statement = getattr(context.compiled, "statement", None)
        if statement is not None:
            seen.append((tree.summarize(statement), analyze(sql, dialect="sqlite").summary))

    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add_all([Author(books=[Book(), Book()]), Author()])
        session.commit()
        session.scalars(sa.select(Author).options(orm.selectinload(Author.books))).all()
        session.query(Author).filter(Author.id == 5).count()
        session.execute(sa.func.lower("x"))
        session.execute(sa.update(Author).where(Author.id == 1).values(name="y"))
        session.execute(sa.delete(Book))
    engine.dispose()
    assert [from_tree for from_tree, _ in seen] == [from_text for _, from_text in seen]
    assert {from_tree for from_tree, _ in seen} == {
        "CREATE TABLE authors",
        "CREATE TABLE books",
        "INSERT authors",
        "INSERT books",
        "SELECT authors",
        "SELECT books",
        "SELECT SELECT authors",
        "SELECT",
        "UPDATE authors",
        "DELETE books",
    }

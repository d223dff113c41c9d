"""One application that does all that an application does with a database, and notes what it saw.

What it saw is compared between a run that nobody observes and one that we do: results, and of each
exception the type, arguments, cause, context, what SQLAlchemy adds to it, and the application's own
frames in its traceback.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import baggage
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import use_span
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    event,
    exc,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

metadata = MetaData()
parents = Table("parents", metadata, Column("id", Integer, primary_key=True))
children = Table(
    "children",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("parent", Integer, ForeignKey("parents.id", deferrable=True, initially="DEFERRED")),
)
people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50), unique=True),
)


class Base(DeclarativeBase):
    """The ORM's side."""

    metadata = metadata


class Item(Base):
    """Has a key and a number that the database makes."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


SECRET = "Xq7parameter"
_ADDRESS = re.compile(r"0x[0-9a-f]+")

_TOLD_BY = {
    "sqlite": "ATTACH DATABASE '/Xq7nobody/Xq7.db' AS other",
    "postgresql": "SELECT CAST('Xq7literal' AS INTEGER)",
}
"""Statements that fail with a literal of theirs in the driver's message."""

Make = Callable[..., Engine]
"""Makes an engine, with options of ``create_engine``, for this URL or for one where nobody is."""


class Seen:
    """What the application saw, step by step."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def note(self, *what: object) -> None:
        self.steps.append(_ADDRESS.sub("0x", repr(what)))

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Do a step, whatever comes of it."""
        try:
            yield
        except Exception as error:
            self.note(name, "raised", _described(error))


def _described(error: BaseException | None, depth: int = 0) -> object:
    if error is None or depth > 8:
        return None
    return (
        type(error).__qualname__,
        repr(error.args),
        [getattr(error, name, None) for name in ("statement", "connection_invalidated", "code")],
        repr(getattr(error, "params", None)),
        _frames(error),
        error.__suppress_context__,
        ("cause", _described(error.__cause__, depth + 1)),
        ("context", _described(error.__context__, depth + 1)),
        getattr(error, "__notes__", None),
    )


def _frames(error: BaseException) -> list[tuple[str, int]]:
    """The application's own frames."""
    found, at = [], error.__traceback__
    while at is not None:
        if at.tb_frame.f_code.co_filename == __file__:
            found.append((at.tb_frame.f_code.co_name, at.tb_lineno))
        at = at.tb_next
    return found


def prepare(engine: Engine) -> None:
    """Make the tables."""
    metadata.drop_all(engine)
    metadata.create_all(engine)


def reset(engine: Engine) -> None:
    """Empty the tables, so that keys begin anew."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            names = ", ".join(metadata.tables)
            connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        else:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())


def play(make: Make, *, two_phase: bool) -> list[str]:
    """Do everything, with engines of its own; say what was seen."""
    seen, engine = Seen(), make(pool_size=2, max_overflow=0, pool_timeout=0.01, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _enforce_foreign_keys)
    for scene in (_core, _orm, _transactions, _failures, _streams, _pool, _llm):
        scene(seen, engine)
    if two_phase:
        _two_phases(seen, engine)
    with seen.step("nobody there"), make(nobody=True).connect():
        pass
    engine.dispose()
    return seen.steps


def _enforce_foreign_keys(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _core(seen: Seen, engine: Engine) -> None:
    with engine.begin() as connection:
        seen.note(connection.execute(insert(people), {"name": SECRET}).rowcount)
        seen.note(connection.execute(insert(people), [{"name": f"{n}"} for n in range(3)]).rowcount)
        many = [{"name": f"r{n}"} for n in range(4)]
        returning = insert(people).returning(people.c.id, sort_by_parameter_order=True)
        options = {"insertmanyvalues_page_size": 2}
        seen.note(connection.execute(returning, many, execution_options=options).all())
        seen.note(
            connection.execute(update(people).values(name="x").where(people.c.id == 1)).rowcount
        )
        seen.note(connection.exec_driver_sql("SELECT count(*) FROM people").scalar())
        seen.note(connection.execute(text("SELECT 'Xq7literal', 1")).all())
        for _ in range(4):
            seen.note(connection.execute(select(people).order_by(people.c.id)).fetchmany(2))
        seen.note(connection.execute(select(people).order_by(people.c.id)).fetchone())
        seen.note(connection.execute(select(people).where(people.c.id == 99)).one_or_none())
        seen.note(connection.execute(select(people.c.id).order_by(people.c.id)).scalars().all())


def _orm(seen: Seen, engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all([Item(name="one"), Item(name="two")])
        session.flush()
        session.rollback()
        session.add_all([Item(name="one"), Item(name="two")])
        session.commit()
        item = session.scalars(select(Item).order_by(Item.id)).first()
        seen.note(item and item.name)
        if item is not None:
            item.name = "three"
        session.commit()
        seen.note([each.name for each in session.scalars(select(Item).order_by(Item.id))])


def _transactions(seen: Seen, engine: Engine) -> None:
    with engine.connect() as connection:
        with connection.begin():
            connection.execute(insert(parents), {"id": 1})
            with seen.step("savepoint"), connection.begin_nested():
                connection.execute(insert(parents), {"id": 2})
                raise ValueError("the application's own")
            seen.note(connection.execute(select(parents)).all())
        seen.note(connection.execute(select(parents)).all())
        connection.rollback()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(insert(parents), {"id": 3})
        seen.note(connection.execute(select(parents)).all())


def _failures(seen: Seen, engine: Engine) -> None:
    with seen.step("no such column"), engine.begin() as connection:
        connection.execute(text("SELECT nosuch, 'Xq7literal' FROM people"))
    with seen.step("unique"), engine.begin() as connection:
        connection.execute(insert(people), {"id": 100, "name": SECRET})
        connection.execute(insert(people), {"id": 100, "name": SECRET})
    with seen.step("unique, many"), engine.begin() as connection:
        twice = [{"id": 101, "name": "a"}, {"id": 101, "name": "b"}]
        connection.execute(insert(people), twice)
    with seen.step("unique, batches"), engine.begin() as connection:
        twice = [{"id": n % 3, "name": f"b{n}"} for n in range(6)]
        connection.execute(insert(people).returning(people.c.id), twice)
    with seen.step("a failing COMMIT"), engine.begin() as connection:
        connection.execute(insert(children), {"parent": 77})
    with seen.step("a failing flush"), Session(engine) as session:
        session.add(Item(id=1, name="again"))
        session.add(Item(id=1, name="and again"))
        session.commit()
    with seen.step("during the application's own"), engine.connect() as connection:
        try:
            raise LookupError("the application's own")
        except LookupError:
            connection.execute(text("SELECT nosuch"))
    with seen.step("after a failed statement"), engine.connect() as connection:
        with seen.step("the statement"):
            connection.execute(text("SELECT nosuch"))
        with seen.step("another"):
            connection.execute(text("SELECT 1"))
        connection.commit()
    with seen.step("a value in the driver's words"), engine.connect() as connection:
        connection.execute(text(_TOLD_BY[engine.dialect.name]))
    with seen.step("wrong parameters"), engine.connect() as connection:
        connection.execute(text("SELECT :a"), {"b": 1})


def _streams(seen: Seen, engine: Engine) -> None:
    with engine.connect() as connection:
        streaming = connection.execution_options(stream_results=True, max_row_buffer=2)
        for row in streaming.execute(select(people.c.id).order_by(people.c.id)):
            seen.note(row)
        part = streaming.execute(select(people.c.id).order_by(people.c.id))
        seen.note(part.fetchone(), part.fetchmany(2))
        part.close()
        seen.note(streaming.execute(select(people.c.id).order_by(people.c.id)).all())
    with engine.connect() as connection:
        chunks = connection.execute(select(people.c.id).order_by(people.c.id)).yield_per(2)
        seen.note([list(each) for each in chunks.partitions()])
        del chunks
        left = connection.execute(select(people.c.id).order_by(people.c.id))
        seen.note(left.fetchone())
        with seen.step("closed"):
            left.close()
            left.fetchone()


def _pool(seen: Seen, engine: Engine) -> None:
    first, second = engine.connect(), engine.connect()
    with seen.step("an exhausted pool"):
        engine.connect()
    seen.note(engine.pool.status())
    second.close()
    with seen.step("invalidated"):
        first.execute(text("SELECT 1")).all()
        first.invalidate()
        first.execute(text("SELECT 1"))
    with seen.step("used again"):
        first.rollback()
        seen.note(first.execute(text("SELECT 1")).all())
    _soft(first)
    engine.dispose()
    seen.note(first.execute(text("SELECT 2")).all())
    first.close()
    with engine.connect() as connection:
        seen.note(connection.execute(text("SELECT 3")).scalar())
        connection.detach()


class _Theirs(SpanProcessor):
    """What an LLM's observability adds to a provider of its own."""

    __module__ = "langfuse.of.the.scenario"

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def on_end(self, span: ReadableSpan) -> None:
        own = (key for key in span.attributes or {} if "db_" not in key)
        self._seen.note("ended", span.name, span.end_time == 9, sorted(own))


def _llm(seen: Seen, engine: Engine) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(_Theirs(seen))
    application, tracer = provider.get_tracer("app"), provider.get_tracer("langfuse-sdk", "5")
    generation = {"langfuse.observation.type": "generation"}
    for provider_at_hand in (application, tracer):
        with provider_at_hand.start_as_current_span("above"), engine.connect() as connection:
            connection.execute(text("SELECT 1")).all()
            with tracer.start_as_current_span("agent"):
                with tracer.start_as_current_span("plan", attributes=generation):
                    seen.note(connection.execute(text("SELECT 2")).all())
                with application.start_as_current_span("tool"), seen.step("in a tool"):
                    seen.note(connection.execute(text("SELECT 3")).all())
                    connection.execute(text("SELECT nosuch"))
            connection.rollback()
            seen.note(connection.execute(text("SELECT 4")).all())
    tracer.start_span("given an end").end(end_time=9)
    forgotten = tracer.start_span("never ended")
    with use_span(forgotten):
        seen.note(len(baggage.get_all()))
    del forgotten


def _soft(connection: Connection) -> None:
    connection.connection.invalidate(soft=True)


def _two_phases(seen: Seen, engine: Engine) -> None:
    for number, how in enumerate(("commit", "rollback")):
        with engine.connect() as connection:
            transaction = connection.begin_twophase(f"xq7{how}")
            connection.execute(insert(parents), {"id": 50 + number})
            transaction.prepare()
            getattr(transaction, how)()
        with engine.connect() as connection:
            seen.note(connection.execute(select(parents)).all())
    with seen.step("unique"), engine.connect() as connection:
        transaction = connection.begin_twophase("xq7failing")
        connection.execute(insert(children), {"parent": 77})
        transaction.prepare()


async def play_async(engine: AsyncEngine) -> list[str]:
    """Do what an application does that awaits."""
    seen = Seen()
    async with engine.begin() as connection:
        await connection.execute(insert(people), [{"name": f"{n}"} for n in range(3)])
        stream = await connection.stream(select(people.c.name).order_by(people.c.id))
        async for row in stream:
            seen.note(row)
    with seen.step("no such column"):
        async with engine.connect() as connection:
            await _failing(connection)
    async with AsyncSession(engine) as session:
        session.add(Item(name="one"))
        await session.commit()
        seen.note((await session.scalars(select(Item.name))).all())
    with seen.step("unique"):
        async with engine.begin() as connection:
            twice = [{"id": 101, "name": "a"}, {"id": 101, "name": "b"}]
            await connection.execute(insert(people), twice)
    await engine.dispose()
    return seen.steps


async def _failing(connection: AsyncConnection) -> None:
    try:
        await connection.execute(text("SELECT nosuch"))
    except exc.DBAPIError as error:
        raise RuntimeError("the application's own") from error

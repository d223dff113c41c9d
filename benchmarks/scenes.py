"""What the application does: each scene opens what it needs, and then does its operation n times.

Every statement runs under a span of the application, as in life: a new one for each request of
`PER_REQUEST` statements, few enough that no burst folds; `burst` is the one that does. That span is
made by hand, costs next to nothing and the same in all variants, and says what is sampled.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from time import thread_time_ns
from typing import Any

import sqlalchemy
import sqlalchemy.ext.asyncio
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from sqlalchemy import NullPool, insert, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

PER_REQUEST = 5
THREADS = 8
BATCH = 100
SELECT = text("SELECT 1")
FAILING = text("SELECT * FROM missing")

Operate = Callable[[int], int]
"""Does the operation so many times; returns the CPU nanoseconds of other callers' threads."""


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


ROWS = [{"name": f"name {number}"} for number in range(BATCH)]
ONE = select(Item).where(Item.id == 1)


class World:
    """The engines of one process, on a file in its working directory, and its requests."""

    def __init__(self, sampled: bool) -> None:
        with sqlite3.connect("shop.db") as connection:
            connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL)")
        connection.close()
        url = "sqlite:///shop.db"
        # By the package's own names, which is where contrib's instrumentor is.
        self.engine = sqlalchemy.create_engine(url, pool_size=THREADS)
        self.unpooled = sqlalchemy.create_engine(url, poolclass=NullPool)
        self.aio = sqlalchemy.ext.asyncio.create_async_engine("sqlite+aiosqlite:///shop.db")
        self.loop = asyncio.new_event_loop()
        provider = TracerProvider(sampler=ALWAYS_ON if sampled else ALWAYS_OFF)
        self.tracer = provider.get_tracer("app")
        self.llm = provider.get_tracer("langfuse-sdk", "4")
        """Makes spans of LLM work."""
        self.unended: list[Any] = []
        self._flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        self._ids = count(1)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Be in a span of the application that nothing else was in."""
        number = next(self._ids)
        above = SpanContext(number << 64 | number, number, is_remote=False, trace_flags=self._flags)
        token = otel_context.attach(set_span_in_context(NonRecordingSpan(above)))
        try:
            yield
        finally:
            otel_context.detach(token)

    def requests(self, operations: int, size: int = PER_REQUEST) -> Iterator[range]:
        """Part so many operations into requests, and be in each while it is worked on."""
        for begun in range(0, operations, size):
            with self.request():
                yield range(min(size, operations - begun))


@contextmanager
def held(world: World) -> Iterator[Operate]:
    with world.engine.connect() as connection:

        def operate(operations: int) -> int:
            for request in world.requests(operations):
                for _ in request:
                    connection.execute(SELECT).all()
            return 0

        yield operate


@contextmanager
def unit_of_work(world: World) -> Iterator[Operate]:
    def operate(operations: int) -> int:
        for _ in world.requests(operations, size=1):
            with Session(world.engine) as session:
                session.add(Item(name="new"))
                session.flush()
                session.scalars(ONE).all()
                session.commit()
        return 0

    yield operate


@contextmanager
def threads(world: World) -> Iterator[Operate]:
    def one(operations: int) -> int:
        start = thread_time_ns()
        for _ in world.requests(operations, size=1):
            with world.engine.connect() as connection:
                connection.execute(SELECT).all()
        return thread_time_ns() - start

    with ThreadPoolExecutor(THREADS) as pool:
        yield lambda operations: sum(pool.map(one, [operations // THREADS] * THREADS))


@contextmanager
def aiosqlite(world: World) -> Iterator[Operate]:
    def wait(coroutine: Any) -> Any:
        return world.loop.run_until_complete(coroutine)

    connection = wait(world.aio.connect())

    async def statements(operations: int) -> int:
        for request in world.requests(operations):
            for _ in request:
                (await connection.execute(SELECT)).all()
        return 0

    try:
        yield lambda operations: wait(statements(operations))
    finally:
        wait(connection.close())


@contextmanager
def executemany(world: World) -> Iterator[Operate]:
    statement = insert(Item.__table__)
    with world.engine.connect() as connection:

        def operate(operations: int) -> int:
            for _ in world.requests(operations, size=1):
                connection.execute(statement, ROWS)
            return 0

        yield operate  # and all is rolled back


@contextmanager
def connect(world: World) -> Iterator[Operate]:
    def operate(operations: int) -> int:
        for _ in world.requests(operations, size=1):
            world.unpooled.connect().close()
        return 0

    yield operate


@contextmanager
def failing(world: World) -> Iterator[Operate]:
    with world.engine.connect() as connection:

        def operate(operations: int) -> int:
            for request in world.requests(operations):
                for _ in request:
                    with suppress(OperationalError):
                        connection.execute(FAILING)
            return 0

        yield operate


@contextmanager
def llm(world: World) -> Iterator[Operate]:
    """Be within LLM work, whose spans were begun before and do not end: they are no part of it."""
    with world.llm.start_as_current_span("met"):
        world.engine.connect().close()  # from here on its provider is known
    spans = [world.llm.start_span("tool") for _ in range(100)]
    with world.engine.connect() as connection:

        def operate(operations: int) -> int:
            tools = iter(spans)
            for begun in range(0, operations, PER_REQUEST):
                token = otel_context.attach(set_span_in_context(next(tools)))
                for _ in range(min(PER_REQUEST, operations - begun)):
                    connection.execute(SELECT).all()
                otel_context.detach(token)
            return 0

        yield operate
    world.unended += spans


@contextmanager
def burst(world: World) -> Iterator[Operate]:
    with world.engine.connect() as connection:

        def operate(operations: int) -> int:
            with world.tracer.start_as_current_span("request"):
                for _ in range(operations):
                    connection.execute(SELECT).all()
            return 0

        yield operate


@dataclass(frozen=True)
class Scene:
    """What is measured: ``operations`` in a round, and the words that its statements begin with."""

    title: str
    open: Callable[[World], AbstractContextManager[Operate]]
    operations: int
    statements: tuple[str, ...]


SCENES: dict[str, Scene] = {
    "held": Scene("a SELECT on a held connection", held, 400, ("SELECT",)),
    "orm": Scene("ORM: insert, select, commit", unit_of_work, 40, ("INSERT", "SELECT")),
    "threads": Scene("8 threads: check out, SELECT, check in", threads, 400, ("SELECT",)),
    "aiosqlite": Scene("an awaited SELECT (aiosqlite)", aiosqlite, 80, ("SELECT",)),
    "executemany": Scene("an INSERT of 100 rows", executemany, 40, ("INSERT",)),
    "connect": Scene("a new connection", connect, 80, ()),
    "failing": Scene("a SELECT that fails", failing, 200, ("SELECT",)),
    "llm": Scene("a SELECT within LLM work", llm, 400, ("SELECT",)),
    "burst": Scene("one SELECT, hundreds of times under one span", burst, 400, ("SELECT",)),
}

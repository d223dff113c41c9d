"""An application on SQLAlchemy that keeps its own book of what SQLite really did.

Run by `python -m tests.e2e.application DIRECTORY`. The only line for otel_dbevents is its import.
SQLite itself tells each statement that it runs (`set_trace_callback`), and under which span; the
book is printed as JSON at the end, for the test to compare with what the backends hold.
"""

import asyncio
import json
import sys
import threading
from collections import Counter
from contextlib import suppress
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from sqlalchemy import ForeignKey, create_engine, event, exc, select, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

import otel_dbevents.auto

tracer = trace.get_tracer("application")
book: dict[str, Counter[str]] = {}
"""For each span's id the first words of the statements that SQLite ran under it."""


ended: list[ReadableSpan] = []


class Ended(SpanProcessor):
    """Sees what ends, as every registered processor does."""

    def on_end(self, span: ReadableSpan) -> None:
        ended.append(span)


class Base(DeclarativeBase):
    """The application's tables."""


class Author(Base):
    """Has books."""

    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    """Has an author, checked when the transaction commits."""

    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(
        ForeignKey("authors.id", deferrable=True, initially="DEFERRED")
    )
    author: Mapped[Author] = relationship(back_populates="books")


def note(statement: str) -> None:
    """Enter a statement of SQLite's into the book. BEGIN and PRAGMA are the driver's own."""
    word = statement.split()[0].upper()
    context = trace.get_current_span().get_span_context()
    if context.is_valid and word not in ("BEGIN", "PRAGMA", "--"):
        book.setdefault(f"{context.span_id:016x}", Counter())[word] += 1


def open_book(connection: Any, _record: Any) -> None:
    """Have SQLite tell what it runs, and check foreign keys."""
    connection.execute("PRAGMA foreign_keys=ON")
    connection.set_trace_callback(note)


def fill(engine: Any) -> None:
    with tracer.start_as_current_span("fill"), Session(engine) as session:
        for number in range(10):
            author = Author(name=f"author {number}")
            author.books = [Book(), Book()]
            session.add(author)
        session.commit()


def lazy(engine: Any) -> None:
    with tracer.start_as_current_span("n plus one"), Session(engine) as session:
        for author in session.scalars(select(Author)):
            len(author.books)


def failing_query(engine: Any) -> None:
    with (
        tracer.start_as_current_span("failing query"),
        suppress(exc.OperationalError),
        engine.connect() as connection,
    ):
        connection.execute(text("SELECT secret_column FROM authors WHERE name = 'hunter2'"))


def failing_commit(engine: Any) -> None:
    with (
        tracer.start_as_current_span("failing commit"),
        suppress(exc.IntegrityError),
        Session(engine) as session,
    ):
        session.add(Book(author_id=4711))
        session.commit()


def rolled_back(engine: Any) -> None:
    with tracer.start_as_current_span("rolled back"), engine.connect() as connection:
        connection.execute(text("DELETE FROM books"))
        connection.rollback()


def in_threads(engine: Any) -> None:
    def work(number: int) -> None:
        with tracer.start_as_current_span(f"thread {number}"), engine.connect() as connection:
            for _ in range(number + 1):
                connection.execute(select(Book)).all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def in_tasks(url: str) -> None:
    """Run queries in tasks; aiosqlite's thread knows no span, so the book is kept here."""
    engine = create_async_engine(url)

    async def work(number: int) -> None:
        with tracer.start_as_current_span(f"task {number}") as span:
            async with engine.connect() as connection:
                for _ in range(number + 1):
                    await connection.execute(select(Book))
            book[f"{span.get_span_context().span_id:016x}"] = Counter(SELECT=number + 1)

    await asyncio.gather(*(work(number) for number in range(4)))
    await engine.dispose()


def refused() -> None:
    engine = create_engine("sqlite:////nowhere/at/all.db")
    with tracer.start_as_current_span("refused"), suppress(exc.OperationalError):
        engine.connect()


def main(directory: str) -> None:
    provider: Any = trace.get_tracer_provider()
    provider.add_span_processor(Ended())
    url = f"{directory}/library.db"
    engine = create_engine(f"sqlite:///{url}")
    event.listen(engine, "connect", open_book)
    Base.metadata.create_all(engine)
    with tracer.start_as_current_span("main") as span:
        for scene in (fill, lazy, failing_query, failing_commit, rolled_back, in_threads):
            scene(engine)
        asyncio.run(in_tasks(f"sqlite+aiosqlite:///{url}"))
        refused()
    engine.dispose()
    otel_dbevents.flush()
    trace_id = f"{span.get_span_context().trace_id:032x}"
    print(json.dumps({"trace_id": trace_id, "spans": len(ended), "book": book}))


if __name__ == "__main__":
    main(sys.argv[1])

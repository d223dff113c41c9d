"""An application on SQLAlchemy to which everything happens that a log tells of.

Run by `python -m tests.e2e.shop DIRECTORY`. It prints the trace's id as the last line of stderr.
Its database is a file that is really taken away and put back. What it logs itself goes to stdout,
as JSON, where it was told so.
"""

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

from opentelemetry import trace
from sqlalchemy import Engine, ForeignKey, create_engine, event, exc, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import NullPool, QueuePool

import otel_dbevents
import otel_dbevents.auto
from otel_dbevents.events import DatabaseConnectionEstablished
from otel_dbevents.json_logs import JsonFormatter

tracer = trace.get_tracer("shop")
log = logging.getLogger("shop")
_BUSY = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)"
    " SELECT count(*) FROM n"
)


class Base(DeclarativeBase):
    """The shop's tables."""


class Order(Base):
    """Has items."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    items: Mapped[list["Item"]] = relationship(back_populates="order")


class Item(Base):
    """Has an order, checked when the transaction commits."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id", deferrable=True, initially="DEFERRED")
    )
    order: Mapped[Order] = relationship(back_populates="items")


def engine_of(path: Path, **options: object) -> Engine:
    """Make an engine on the file that checks foreign keys."""
    engine = create_engine(f"sqlite:///{path}", **options)
    event.listen(
        engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON")
    )
    return engine


def list_orders(engine: Engine) -> None:
    """Look at each order's items, one by one."""
    with Session(engine) as session:
        for order in session.scalars(select(Order)):
            len(order.items)


def add_up(engine: Engine) -> None:
    """Run a query that is slow."""
    with engine.connect() as connection:
        connection.execute(text(_BUSY)).all()


def sell_nothing(engine: Engine) -> None:
    """Fail at COMMIT."""
    with suppress(exc.IntegrityError), Session(engine) as session:
        session.add(Item(order_id=4711))
        session.commit()


def misspell(engine: Engine) -> None:
    """Fail in a query, with a literal in it."""
    with suppress(exc.OperationalError), engine.connect() as connection:
        connection.execute(text("SELECT nosuch FROM orders WHERE note = 'hunter2'"))


def lose_the_file(path: Path) -> None:
    """Take the database away, fail twice to reach it, and put it back."""
    engine = engine_of(path, poolclass=NullPool)
    away = path.parent.with_name("away")
    path.parent.rename(away)
    for _ in range(2):
        with suppress(exc.OperationalError):
            engine.connect()
    otel_dbevents.check_database_health(engine)
    log.warning("no database, the shop is closed for a moment")
    away.rename(path.parent)
    engine.connect().close()


def ask_twice(path: Path) -> None:
    """Wait in vain for the pool's only connection."""
    engine = engine_of(path, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.05)
    with engine.connect(), suppress(exc.TimeoutError):
        engine.connect()
    engine.dispose()


def broken(_event: DatabaseConnectionEstablished) -> None:
    """Be a handler that does not work: what it should have seen is lost."""
    raise LookupError("hunter2 is not for the log")


def main(directory: Path) -> None:
    """Play it all under one span."""
    logging.getLogger().setLevel(logging.INFO)
    if os.environ.get("SHOP_LOGS") == "lines":
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter({"service.name": os.environ["OTEL_SERVICE_NAME"]}))
        logging.getLogger().addHandler(handler)
    otel_dbevents.instrument().bus.handle(broken, DatabaseConnectionEstablished)
    path = directory / "data" / "shop.db"
    path.parent.mkdir()
    with tracer.start_as_current_span("a day in the shop") as span:
        log.info("the shop opens")
        engine = engine_of(path)
        Base.metadata.create_all(engine)
        with Session(engine) as session:
            session.add_all(Order(items=[Item(), Item()]) for _ in range(12))
            session.commit()
        for scene in (list_orders, add_up, sell_nothing, misspell):
            scene(engine)
        engine.dispose()
        lose_the_file(path)
        ask_twice(path)
    otel_dbevents.flush()
    print(f"{span.get_span_context().trace_id:032x}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

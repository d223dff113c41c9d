"""A shop on PostgreSQL in which all happens that the dashboards show, again and again.

Run by `python -m tests.grafana.shop URL SECONDS`. The only line for otel_dbevents is its import.
Nothing is feigned: queries wait for real locks, the pool is held by real connections, commits fail
by a real constraint, and a connection is refused by a port where nobody listens.
"""

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from opentelemetry import trace
from sqlalchemy import Engine, ForeignKey, create_engine, event, exc, func, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

import otel_dbevents.auto  # noqa: F401

tracer = trace.get_tracer("shop")
ended = threading.Event()


class Base(DeclarativeBase):
    """The shop's tables."""


class Customer(Base):
    """Has orders."""

    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    orders: Mapped[list["Order"]] = relationship(back_populates="customer")


class Order(Base):
    """Belongs to a customer, which is checked when the transaction commits."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(
        ForeignKey("customers.id", deferrable=True, initially="DEFERRED")
    )
    total: Mapped[int] = mapped_column(default=1)
    customer: Mapped[Customer] = relationship(back_populates="orders")


def fill(engine: Engine) -> None:
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        if session.scalar(select(func.count(Customer.id))):
            return
        for number in range(20):
            orders = [Order(total=number), Order(total=number + 1)]
            session.add(Customer(name=f"customer {number}", orders=orders))
        session.commit()


def overview(engine: Engine) -> None:
    """Show all customers with their orders: one query for each of them."""
    with tracer.start_as_current_span("GET /customers"), Session(engine) as session:
        for customer in session.scalars(select(Customer)):
            len(customer.orders)


def ordering(engine: Engine) -> None:
    with tracer.start_as_current_span("POST /orders"), Session(engine) as session:
        session.add(Order(customer_id=1))
        session.commit()
        session.scalar(select(func.sum(Order.total)))


def reporting(engine: Engine) -> None:
    """Take some time, and now and then more than is allowed."""
    with tracer.start_as_current_span("GET /report"), engine.connect() as connection:
        for seconds in (0.03, 0.08, 0.15):
            connection.execute(select(func.pg_sleep(seconds))).all()


def changing_one_mind(engine: Engine) -> None:
    with tracer.start_as_current_span("DELETE /orders"), Session(engine) as session:
        session.execute(update(Order).values(total=0))
        session.rollback()


def same_name(engine: Engine) -> None:
    with (
        tracer.start_as_current_span("POST /customers"),
        suppress(exc.IntegrityError),
        Session(engine) as session,
    ):
        session.add(Customer(name="customer 1"))
        session.commit()


def nobodys_order(engine: Engine) -> None:
    """Commit an order of a customer who is not there."""
    with (
        tracer.start_as_current_span("POST /orders"),
        suppress(exc.IntegrityError),
        Session(engine) as session,
    ):
        session.add(Order(customer_id=4711))
        session.commit()


def locked(engine: Engine) -> None:
    """Wait for a row that another session has locked: longer than a query may take."""
    change = update(Customer).where(Customer.id == 2).values(name="customer 1, again")
    with engine.connect() as holder:
        holder.execute(select(Customer.id).where(Customer.id == 2).with_for_update())

        def wait() -> None:
            with tracer.start_as_current_span("PUT /customers"), engine.connect() as waiting:
                waiting.execute(change)
                waiting.rollback()

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.6)
        holder.rollback()
        thread.join()


def held(small: Engine) -> None:
    """Hold all of a small pool's connections while others want some too."""

    def hold(seconds: float) -> None:
        with (
            tracer.start_as_current_span("GET /stock"),
            suppress(exc.TimeoutError),
            small.connect() as connection,
        ):
            connection.execute(text("SELECT count(*) FROM orders")).all()
            time.sleep(seconds)

    threads = [threading.Thread(target=hold, args=(0.8,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def refused(other: Engine, where: dict[str, Any]) -> None:
    """Be refused twice by a database that is away for a while, and taken when it is back."""
    right = dict(where)
    for port in (9, 9, None):
        where["port"] = port or right["port"]
        ended.wait(0.0 if port else 1.5)
        with tracer.start_as_current_span("GET /prices"), suppress(exc.OperationalError):
            other.connect().close()
    other.dispose()


def assisting(engine: Engine) -> None:
    """Have a model ask for a tool that asks the database."""
    asked = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "assistant"}
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "model-1"}
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "orders"}
    with tracer.start_as_current_span("invoke_agent assistant", attributes=asked):
        with tracer.start_as_current_span("chat model-1", attributes=chat):
            time.sleep(0.05)
        with tracer.start_as_current_span("execute_tool orders", attributes=tool):
            with Session(engine) as session:
                for number in range(1, 13):
                    session.get(Customer, number)
            with engine.connect() as connection, suppress(exc.ProgrammingError):
                connection.execute(select(func.pg_sleep(0.21))).all()
                connection.execute(text("SELECT guessed_by_the_model FROM orders"))


def repeat(scene: Callable[[], object], pause_s: float) -> threading.Thread:
    """Play a scene until the shop closes."""

    def play() -> None:
        while not ended.wait(pause_s):
            scene()

    thread = threading.Thread(target=play)
    thread.start()
    return thread


def main(url: str, seconds: float) -> None:
    engine = create_engine(url, pool_size=10)
    small = create_engine(
        url, pool_size=2, max_overflow=1, pool_timeout=0.3, pool_logging_name="small"
    )
    other = create_engine(url, pool_logging_name="other")
    where: dict[str, Any] = {"port": other.url.port}

    @event.listens_for(other, "do_connect")
    def to_where(_dialect: Any, _record: Any, _arguments: Any, parameters: Any) -> None:
        parameters.update(where)

    local = create_engine("sqlite://")
    fill(engine)
    playing = [
        repeat(lambda: overview(engine), 0.3),
        repeat(lambda: ordering(engine), 0.1),
        repeat(lambda: reporting(engine), 0.1),
        repeat(lambda: changing_one_mind(engine), 0.5),
        repeat(lambda: same_name(engine), 0.7),
        repeat(lambda: nobodys_order(engine), 0.9),
        repeat(lambda: locked(engine), 1.5),
        repeat(lambda: held(small), 0.7),
        repeat(lambda: refused(other, where), 1.0),
        repeat(lambda: assisting(engine), 0.5),
        repeat(lambda: local.connect().close(), 1.0),
    ]
    time.sleep(seconds)
    ended.set()
    for thread in playing:
        thread.join()
    for each in (engine, small, other, local):
        each.dispose()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))

"""The shop: five tables, and an SQLite file with some 49,000 rows in them."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine, ForeignKey, create_engine, event, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

CUSTOMERS, PRODUCTS, ORDERS = 600, 80, 4_000
OPENING_DAY = date(2026, 1, 1)
_CITIES = ("Lisbon", "Porto", "Ghent", "Turin", "Malmö", "Graz", "Lyon", "Cork", "Kraków", "Bergen")
_FIRST = ("Ana", "Bo", "Chiara", "Dov", "Elif", "Femke", "Goran", "Hana", "Iris", "Jonas")
_LAST = ("Adler", "Berg", "Costa", "Duarte", "Eriksen", "Ferro", "Gruber", "Horvat", "Ivanov")
_KINDS = ("kettle", "lamp", "chair", "blanket", "teapot", "shelf", "basket", "mirror")
_SAID = (
    "When will it arrive? I am at home on weekdays only, from nine to five.",
    "It came today and it looks just like the picture. My mother wants one too.",
    "The parcel was open when it came and one of the legs is broken. Please send another.",
    "Could I change the address? I am moving on Friday, to the other end of the town.",
    "Please take it back: the colour is not that of the picture, and I have no use for it.",
)
_FINISH = ("oak", "linen", "copper", "glass", "wool", "cork", "slate", "ash", "brass", "rattan")


class Base(DeclarativeBase):
    """The shop's tables."""


class Customer(Base):
    """Somebody who buys."""

    __tablename__ = "customers"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    city: Mapped[str]


class Product(Base):
    """Something to buy."""

    __tablename__ = "products"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price_cents: Mapped[int]


class Order(Base):
    """What one customer bought on one day. Its items are loaded when they are first asked for."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), index=True)
    placed_on: Mapped[date]
    items: Mapped[list["OrderItem"]] = relationship(back_populates="order")
    messages: Mapped[list["Message"]] = relationship()


class OrderItem(Base):
    """One line of an order. The database checks that its order exists when the transaction ends."""

    __tablename__ = "order_items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id", deferrable=True, initially="DEFERRED"), index=True
    )
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), index=True)
    quantity: Mapped[int]
    price_cents: Mapped[int]
    order: Mapped[Order] = relationship(back_populates="items")


class Message(Base):
    """What a customer wrote about an order. Nobody thought of an index on the order."""

    __tablename__ = "messages"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(
        ForeignKey("orders.id", deferrable=True, initially="DEFERRED")
    )
    text: Mapped[str]


def database_url(file: Path, driver: str = "sqlite") -> str:
    """Return the URL of an SQLite file."""
    return f"{driver}:///{file.as_posix()}"


def open_database(url: str, **options: Any) -> Engine:
    """Return an engine whose connections hold the file to its foreign keys."""
    engine = create_engine(url, **options)

    @event.listens_for(engine, "connect")
    def check_foreign_keys(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA foreign_keys = ON").close()

    return engine


def open_shop(engine: Engine) -> int:
    """Make the tables, and fill them in one transaction by bulk inserts; return the rows."""
    Base.metadata.create_all(engine, checkfirst=False)
    random = Random(7)  # noqa: S311 - the same shop on every run
    prices = [random.randrange(900, 24_000, 50) for _ in range(PRODUCTS)]
    stock: dict[type[Base], list[dict[str, Any]]] = {
        Customer: list(_customers(random)),
        Product: list(_products(prices)),
        Order: list(_orders(random)),
        OrderItem: list(_items(random, prices)),
        Message: list(_messages(random)),
    }
    with engine.begin() as connection:
        for table, rows in stock.items():
            connection.execute(insert(table), rows)
    return sum(map(len, stock.values()))


def _customers(random: Random) -> Iterator[dict[str, Any]]:
    for _ in range(CUSTOMERS):
        name = f"{random.choice(_FIRST)} {random.choice(_LAST)}"
        yield {"name": name, "city": random.choice(_CITIES)}


def _products(prices: list[int]) -> Iterator[dict[str, Any]]:
    names = [f"{finish} {kind}" for finish in _FINISH for kind in _KINDS]
    for name, price in zip(names, prices, strict=True):
        yield {"name": name, "price_cents": price}


def _orders(random: Random) -> Iterator[dict[str, Any]]:
    for number in range(ORDERS):
        day = OPENING_DAY + timedelta(days=number * 300 // ORDERS)
        yield {"customer_id": random.randint(1, CUSTOMERS), "placed_on": day}


def _items(random: Random, prices: list[int]) -> Iterator[dict[str, Any]]:
    for order in range(1, ORDERS + 1):
        for product in random.sample(range(PRODUCTS), random.randint(1, 5)):
            yield {
                "order_id": order,
                "product_id": product + 1,
                "quantity": random.randint(1, 3),
                "price_cents": prices[product],
            }


def _messages(random: Random) -> Iterator[dict[str, Any]]:
    for order in range(1, ORDERS + 1):
        for _ in range(random.randint(0, 16)):
            yield {"order_id": order, "text": random.choice(_SAID)}

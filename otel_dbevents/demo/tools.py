"""The tools that the assistant has: each does one thing to the shop's database."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import Any

from sqlalchemy import Engine, delete, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.orm import Session

from otel_dbevents.demo.assistant import AsyncTool, Tool
from otel_dbevents.demo.retrieval import find_messages
from otel_dbevents.demo.shop import Order, OrderItem, Product

MOST_ROWS = 50


def shop_tools(engine: Engine) -> Mapping[str, Tool]:
    """Return the tools over an engine, by the names that the model calls them by."""
    tools: tuple[Tool, ...] = (run_sql, place_order, delete_order, find_messages)
    return {tool.__name__: partial(tool, engine) for tool in tools}


def async_shop_tools(engine: AsyncEngine) -> Mapping[str, AsyncTool]:
    """Return the tools over an async engine."""

    async def run_sql(query: str) -> str:
        async with engine.connect() as connection:
            return _as_json((await connection.execute(text(query))).fetchmany(MOST_ROWS))

    return {"run_sql": run_sql}


def run_sql(engine: Engine, query: str) -> str:
    """Run the model's query; nothing that it writes is kept, since nothing is committed."""
    with engine.connect() as connection:
        return _as_json(connection.execute(text(query)).fetchmany(MOST_ROWS))


def place_order(engine: Engine, customer: int, products: Sequence[int]) -> str:
    """Place an order as one unit of work: the order and its items are kept together, or not."""
    with Session(engine) as session, session.begin():
        bought = session.scalars(select(Product).where(Product.id.in_(products))).all()
        items = [OrderItem(product_id=p.id, quantity=1, price_cents=p.price_cents) for p in bought]
        order = Order(customer_id=customer, placed_on=date.today(), items=items)
        session.add(order)
        session.flush()
        return _as_json([(order.id, sum(item.price_cents for item in items))])


def delete_order(engine: Engine, order: int) -> str:
    """Delete an order, and forget its items: the database only notices at COMMIT."""
    with Session(engine) as session, session.begin():
        session.execute(delete(Order).where(Order.id == order))
    return _as_json([(order,)])


def _as_json(rows: Iterable[Sequence[Any]]) -> str:
    return json.dumps([list(row) for row in rows], default=str)

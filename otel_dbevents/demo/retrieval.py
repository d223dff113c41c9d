"""What the assistant reads before it answers: the customers' own words. It reads them badly."""

import json

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from otel_dbevents.demo.shop import Order


def find_messages(engine: Engine, word: str, orders: int) -> str:
    """Return what was written about the latest orders, where it holds a word.

    Each order's messages are asked for by a query of its own: the mistake that the demonstration
    is about.
    """
    with Session(engine) as session:
        latest = session.scalars(select(Order).order_by(Order.id.desc()).limit(orders))
        found = [
            (order.id, message.text)
            for order in latest
            for message in order.messages
            if word in message.text
        ]
    return json.dumps(found)

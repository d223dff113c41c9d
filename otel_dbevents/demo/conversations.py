"""What the scripted model does with each question: the SQL it writes and the answers it makes."""

from collections.abc import Callable, Mapping

from otel_dbevents.demo.model import ToolCall
from otel_dbevents.demo.script import Script

TOP_CITIES = "Which three cities order the most?"
BEST_SELLER = "What sold best in May?"
QUIET_DAY = "Which day was our quietest?"
ORDER_LAMPS = "Please order one of products 3, 11 and 42 for customer 17."
COMPLAINTS = "Did anything of our latest 200 orders arrive broken?"
SAME_TASTE = "Which two customers have the most similar taste?"
AVERAGE_ORDER = "What is an average order worth?"
DELETE_ORDER = "Order 1207 was a mistake. Delete it."
HOW_MANY = "How many customers do we have?"
REPLICA = "What does the reporting replica say: how many orders are there?"


def _run_sql(query: str) -> ToolCall:
    return ToolCall("run_sql", {"query": query})


def top_cities() -> Script:
    """Answer by one join."""
    given = yield _run_sql(
        "SELECT c.city, COUNT(*) AS orders FROM customers c JOIN orders o ON o.customer_id = c.id"
        " GROUP BY c.city ORDER BY orders DESC LIMIT 3"
    )
    return ", ".join(f"{city} ({orders} orders)" for city, orders in given.rows) + "."


def best_seller() -> Script:
    """Answer by a join over three tables, for one month."""
    given = yield _run_sql(
        "SELECT p.name, SUM(i.quantity) AS sold FROM products p"
        " JOIN order_items i ON i.product_id = p.id JOIN orders o ON o.id = i.order_id"
        " WHERE o.placed_on BETWEEN '2026-05-01' AND '2026-05-31'"
        " GROUP BY p.id ORDER BY sold DESC LIMIT 1"
    )
    name, sold = given.rows[0]
    return f"The {name}: {sold} sold."


def quiet_day() -> Script:
    """Answer by a sum over every item."""
    given = yield _run_sql(
        "SELECT o.placed_on, SUM(i.quantity * i.price_cents) AS takings FROM orders o"
        " JOIN order_items i ON i.order_id = o.id GROUP BY o.placed_on ORDER BY takings LIMIT 1"
    )
    day, cents = given.rows[0]
    return f"{day}, with takings of {_money(cents)}."


def order_lamps() -> Script:
    """Place an order."""
    given = yield ToolCall("place_order", {"customer": 17, "products": [3, 11, 42]})
    order, cents = given.rows[0]
    return f"Done: order {order}, {_money(cents)}."


def complaints() -> Script:
    """Call the tool that asks the database once more for each order."""
    given = yield ToolCall("find_messages", {"word": "broken", "orders": 200})
    orders = {order for order, _ in given.rows}
    return f"Yes: customers wrote so about {len(orders)} of them."


def same_taste() -> Script:
    """Compare every customer's shopping with every other customer's."""
    given = yield _run_sql(
        "SELECT a.customer_id, b.customer_id, COUNT(DISTINCT x.product_id) AS shared"
        " FROM orders a JOIN order_items x ON x.order_id = a.id"
        " JOIN order_items y ON y.product_id = x.product_id JOIN orders b ON b.id = y.order_id"
        " WHERE a.customer_id <= 200 AND a.customer_id < b.customer_id"
        " GROUP BY a.customer_id, b.customer_id ORDER BY shared DESC LIMIT 1"
    )
    one, other, shared = given.rows[0]
    return f"Customers {one} and {other}: both bought the same {shared} products."


def average_order() -> Script:
    """Write a column that is not there; mend the query when the database says so."""
    given = yield _run_sql("SELECT AVG(o.total_cents) FROM orders o WHERE o.id > 100")
    if "no such column" in given.error:
        given = yield _run_sql(
            "SELECT SUM(i.quantity * i.price_cents) / COUNT(DISTINCT i.order_id)"
            " FROM order_items i WHERE i.order_id > 100"
        )
    return f"{_money(given.rows[0][0])}."


def delete_order() -> Script:
    """Delete an order whose items still need it."""
    given = yield ToolCall("delete_order", {"order": 1207})
    if given.error:
        return "The database kept order 1207: its items still refer to it. Nothing was changed."
    return "Order 1207 is deleted."


def how_many() -> Script:
    """Count, if a connection can be had."""
    given = yield _run_sql("SELECT COUNT(*) FROM customers")
    if given.error:
        return "All database connections are busy. Please ask again in a moment."
    return f"{given.rows[0][0]} customers."


def replica() -> Script:
    """Count in a database that may not be there; try twice before giving up."""
    for _ in range(2):
        given = yield _run_sql("SELECT COUNT(*) FROM orders")
        if not given.error:
            return f"{given.rows[0][0]:,} orders."
    return "I cannot reach the replica."


def _money(cents: int) -> str:
    return f"{cents / 100:,.2f} EUR"


SCRIPTS: Mapping[str, Callable[[], Script]] = {
    TOP_CITIES: top_cities,
    BEST_SELLER: best_seller,
    QUIET_DAY: quiet_day,
    ORDER_LAMPS: order_lamps,
    COMPLAINTS: complaints,
    SAME_TASTE: same_taste,
    AVERAGE_ORDER: average_order,
    DELETE_ORDER: delete_order,
    HOW_MANY: how_many,
    REPLICA: replica,
}

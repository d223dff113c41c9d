"""A database that is lent again is as a new one, whatever was left in it."""

import psycopg
import pytest
from sqlalchemy import create_engine, text

from tests.services.postgresql import Postgresql

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

LEFT = (
    "CREATE TABLE pets (name TEXT)",
    "CREATE TYPE colour AS ENUM ('red')",
    "CREATE SCHEMA shop CREATE TABLE orders (id INTEGER)",
    "BEGIN; INSERT INTO pets VALUES ('Rex'); PREPARE TRANSACTION 'left'",
    "BEGIN; LOCK TABLE shop.orders",
)
THERE = """SELECT nspname, relname FROM pg_namespace n LEFT JOIN pg_class c ON n.oid = relnamespace
WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"""


def test_what_was_left_is_gone_and_so_is_who_was_connected(postgresql: Postgresql) -> None:
    with postgresql.lent() as first:
        left = psycopg.connect(postgresql.url(first, "postgresql"), autocommit=True)
        for statement in LEFT:
            left.execute(statement)
    with pytest.raises(psycopg.OperationalError, match="terminating connection"):
        left.execute("SELECT 1")
    left.close()
    with postgresql.lent() as second:
        assert second != first, "who looks for engines by their database finds its own alone"
        engine = create_engine(postgresql.url(second))
        with engine.connect() as connection:
            assert connection.execute(text(THERE)).all() == [("public", None)]
            assert connection.scalar(text("SELECT count(*) FROM pg_prepared_xacts")) == 0
            known = connection.scalars(text("SELECT datname FROM pg_database")).all()
        engine.dispose()
        assert second in known
        assert first not in known


def test_two_that_are_lent_at_once_are_two(postgresql: Postgresql) -> None:
    with postgresql.lent() as one, postgresql.lent() as other:
        assert one != other
        with psycopg.connect(postgresql.url(one, "postgresql"), autocommit=True) as connection:
            connection.execute("CREATE TABLE pets (name TEXT)")
        engine = create_engine(postgresql.url(other))
        with engine.connect() as connection, pytest.raises(Exception, match="does not exist"):
            connection.execute(text("SELECT * FROM pets"))
        engine.dispose()

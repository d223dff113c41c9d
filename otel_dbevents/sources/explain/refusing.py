"""What may be explained: a single SELECT that surely changes nothing, on a connection of our own.

EXPLAIN without ANALYZE does not run the statement. What a planner runs all the same (constant
subqueries in MySQL and MariaDB, functions that claim to be stable in PostgreSQL) must change
nothing: so the statement tree or the text has to say so, no function is called that is known to
change something, and the transaction is a read-only one (`otel_dbevents.sources.explain.asking`).
"""

import re
from inspect import getclosurevars
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.pool import Pool, StaticPool

from otel_dbevents.events import Database, Statement
from otel_dbevents.sources.explain.plan import WAYS
from otel_dbevents.sources.text import analyze


def is_reading_select(statement: Statement) -> bool:
    """Whether it is of the kind that has a plan to tell; the rest is not even asked for."""
    return not statement.writes and _START.match(statement.query_text) is not None


def refusal(engine: Engine, database: Database, sql: str) -> str:
    """Say, in fixed words, why a statement is not explained; empty when it may be."""
    dialect, pool = engine.dialect, engine.pool
    if dialect.name not in WAYS:
        return f"no plans are read from {dialect.name}"
    if database.namespace == ":memory:":
        return "another connection does not see a database in memory"
    if isinstance(pool, StaticPool):
        return "the engine has one connection for all"
    if dialect.is_async and not _made_by_sqlalchemy(pool):
        return "an async engine's own creator may belong to its event loop"
    if _replicates(engine):
        return "a second connection must not touch an embedded replica's file"
    if not changes_nothing(sql, dialect.name):
        return "it is no single SELECT that surely changes nothing"
    return ""


def _made_by_sqlalchemy(pool: Pool) -> bool:
    """Whether connections come from ``create_engine``'s own creator."""
    return getattr(pool._creator, "__module__", "") == "sqlalchemy.engine.create"


def _replicates(engine: Engine) -> bool:
    """Whether a connection of libSQL or Turso would copy a server's database to its file.

    Two that do at once may break the file. What the driver is given is seen in the creator that
    ``create_engine`` makes; with any other creator it is not known, and True.
    """
    driver = engine.dialect.driver
    if driver not in _REPLICATING:
        return False
    creator: Any = engine.pool._creator
    given = getclosurevars(creator).nonlocals if _made_by_sqlalchemy(engine.pool) else {}
    return driver == "turso_sync" or "sync_url" in given.get("cparams", ("sync_url",))


_REPLICATING = ("libsql", "aiolibsql", "turso_sync")
_START = re.compile(r"[\s(]*+(?:SELECT|WITH)\b", re.IGNORECASE)
_INTO = re.compile(r"\bINTO\b", re.IGNORECASE)
_CHANGING = """
    nextval setval set_config pg_notify dblink\\w* lo_\\w+ pg_\\w*advisory\\w* pg_sleep\\w*
    pg_(?:terminate|cancel)_backend pg_(?:reload|rotate|promote|switch|create|drop|replication
    |logical|wal|backup|start|stop|stat_reset|read|ls|import|export)\\w* txid_current pg_file\\w*
    query_to_xml\\w* cursor_to_xml\\w* table_to_xml\\w* schema_to_xml\\w* database_to_xml\\w*
    load_extension writefile readfile edit eval
    get_lock release_lock release_all_locks sleep benchmark load_file last_insert_id master_\\w+
    source_pos_wait wait_for_executed_gtid_set sys_exec sys_eval sys_set
"""
_NAMES = "|".join(_CHANGING.replace("\n    |", "|").split())
# A name in double quotes is taken for a string in MySQL, and may be none there.
_CALL = re.compile(rf"""(?:\b(?:{_NAMES})["`\]]?|\?)\s*+\(""", re.IGNORECASE)


def changes_nothing(sql: str, dialect: str) -> bool:
    """Whether ``sql`` is one SELECT that surely changes nothing; False in doubt.

    In doubt is also a text with a semicolon anywhere but at its end, be it in a literal.
    """
    body = sql.rstrip("; \t\r\n")
    if ";" in body:
        return False
    said = analyze(body, dialect=dialect)
    if said.writes or not _START.match(said.text):
        return False
    return not _INTO.search(said.text) and not _CALL.search(said.text)

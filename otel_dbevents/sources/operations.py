"""The words of SQL that operations and targets are told by. Tables without logic."""

from typing import NamedTuple


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SOURCE = _words("ONLY LATERAL TABLE")
TARGET = _words(
    "INTO FROM ONLY TABLE OR REPLACE IGNORE ABORT FAIL ROLLBACK LOW_PRIORITY HIGH_PRIORITY DELAYED"
    " QUICK OVERWRITE TOP"
)
OBJECT = _words("IF NOT EXISTS CONCURRENTLY ONLY FULL VERBOSE FREEZE DATABASE COLUMN")
TYPES = _words(
    "TABLE VIEW INDEX SEQUENCE SCHEMA DATABASE FUNCTION PROCEDURE TRIGGER TYPE DOMAIN EXTENSION"
    " POLICY EVENT SERVER SYNONYM PACKAGE COLLATION AGGREGATE RULE STATISTICS TABLESPACE"
    " PUBLICATION SUBSCRIPTION KEYSPACE CATALOG COLUMN CONSTRAINT MATERIALIZED"
)
ACCOUNTS = _words("USER ROLE LOGIN GROUP SYSTEM")
CODE = _words("FUNCTION PROCEDURE TRIGGER POLICY EVENT PACKAGE RULE AGGREGATE")
READ_PRAGMAS = _words(
    "TABLE_INFO TABLE_XINFO TABLE_LIST INDEX_LIST INDEX_INFO INDEX_XINFO FOREIGN_KEY_LIST"
    " FOREIGN_KEY_CHECK INTEGRITY_CHECK QUICK_CHECK"
)
"""Pragmas that take a name and change nothing."""
WRITE_PRAGMAS = _words("OPTIMIZE WAL_CHECKPOINT INCREMENTAL_VACUUM")
END_OF_FROM = _words(
    "WHERE GROUP ORDER HAVING LIMIT OFFSET FETCH WINDOW FOR UNION INTERSECT EXCEPT MINUS QUALIFY"
    " RETURNING SET VALUES INTO OPTION LOCK CONFLICT DUPLICATE START CONNECT"
)
NEVER_NAMES = END_OF_FROM | _words("SELECT ON USING AS WITH AND DEFAULT JOIN INNER LEFT CROSS")
JOINS = _words("JOIN STRAIGHT_JOIN APPLY")


TELLING = END_OF_FROM | JOINS | _words("SELECT WITH FROM INTO AS")
"""The words that mean something wherever they stand."""


class Operation(NamedTuple):
    """What is to be expected after the first word of a statement."""

    writes: bool = False
    """It may change data or schema."""
    passed: frozenset[str] | None = None
    """The words that may come before the target; None when there is no target."""
    also: frozenset[str] = frozenset()
    """Words that are part of the operation's name."""
    typed: bool = False
    """One of ``also`` must come before the target."""
    lists: bool = False
    """The target may be a list."""
    quiet: bool = False
    """What follows is no operation, whatever its words."""


READ, _UNKNOWN = Operation(), Operation(writes=True)
_CHANGE = Operation(writes=True, passed=TARGET)
_ON_TABLES = Operation(True, OBJECT, _words("TABLE TABLES"), lists=True)
_DEFINE = Operation(True, OBJECT, TYPES, typed=True)

OPERATIONS: dict[str, Operation] = {
    **dict.fromkeys(("INSERT", "REPLACE", "UPDATE", "DELETE", "MERGE", "UPSERT"), _CHANGE),
    **dict.fromkeys(("CREATE", "ALTER", "REFRESH"), _DEFINE),
    "DROP": _DEFINE._replace(lists=True),
    "COMMENT": _DEFINE._replace(also=TYPES | {"ON"}),
    **dict.fromkeys(("TRUNCATE", "LOCK", "RENAME", "OPTIMIZE"), _ON_TABLES),
    **dict.fromkeys(("ANALYZE", "VACUUM", "REINDEX"), _CHANGE._replace(passed=OBJECT | TYPES)),
    "COPY": _CHANGE._replace(passed=frozenset()),
    **dict.fromkeys(("CALL", "EXEC", "EXECUTE"), _CHANGE._replace(passed=_words("IMMEDIATE"))),
    **dict.fromkeys(("GRANT", "REVOKE", "DO", "LOAD"), _UNKNOWN._replace(quiet=True)),
    **dict.fromkeys(("SHOW", "SET"), READ._replace(quiet=True)),
    **dict.fromkeys(("USE", "DESCRIBE", "DESC", "TABLE"), Operation(passed=_words("TABLE"))),
    **dict.fromkeys(("PREPARE", "DECLARE", "DEALLOCATE", "NOTIFY", "KILL", "FLUSH"), _UNKNOWN),
    **dict.fromkeys(("LISTEN", "UNLISTEN", "DISCARD", "CHECKPOINT", "CLUSTER", "ATTACH"), _UNKNOWN),
    **dict.fromkeys(("VALUES", "EXPLAIN", "BEGIN", "COMMIT", "END", "ABORT", "SAVEPOINT"), READ),
    **dict.fromkeys(("FETCH", "MOVE", "CLOSE", "RESET"), READ),
    "DETACH": _CHANGE._replace(passed=_words("DATABASE")),
    "PRAGMA": Operation(passed=frozenset()),
    "ROLLBACK": READ._replace(also=_words("TO SAVEPOINT")),
    "RELEASE": READ._replace(also=_words("SAVEPOINT")),
    "START": READ._replace(also=_words("TRANSACTION")),
    "UNLOCK": READ._replace(also=_words("TABLES")),
}
"""What may begin a statement. What is not here gives no summary and counts as a change."""

BODIES = _words("INSERT UPDATE DELETE MERGE")
"""What may begin the body of a CTE, besides a SELECT."""

"""The words of SQL that operations and targets are told by. Tables without logic."""

from typing import NamedTuple


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SOURCE = _words("ONLY LATERAL FROM")
TARGET = _words(
    "INTO FROM ONLY ALL OR REPLACE IGNORE ABORT FAIL ROLLBACK LOW_PRIORITY HIGH_PRIORITY DELAYED"
    " QUICK OVERWRITE TOP"
)
OBJECT = _words("IF NOT EXISTS CONCURRENTLY ONLY FULL VERBOSE FREEZE DATABASE COLUMN")
TYPES = _words(
    "TABLE VIEW INDEX SEQUENCE SCHEMA DATABASE FUNCTION PROCEDURE TRIGGER TYPE DOMAIN EXTENSION"
    " POLICY EVENT SERVER SYNONYM PACKAGE COLLATION AGGREGATE RULE STATISTICS TABLESPACE"
    " PUBLICATION SUBSCRIPTION KEYSPACE CATALOG COLUMN CONSTRAINT MATERIALIZED CREDENTIAL"
    " CERTIFICATE CAST OPERATOR WRAPPER CONFIGURATION DICTIONARY LANGUAGE LINK DIRECTORY"
)
NO_TARGET = _words("USER ROLE LOGIN GROUP SYSTEM SESSION PRIVILEGES AUTHORIZATION PROFILE")
"""The types of object that are not named: accounts, and what is not one object."""
QUALIFIERS = {
    "DATABASE": _words("LINK SCOPED CREDENTIAL"),
    "PACKAGE": _words("BODY"),
    "TYPE": _words("BODY"),
    "EVENT": _words("TRIGGER"),
    "OPERATOR": _words("CLASS FAMILY"),
}
"""What belongs to a type of object, if a name follows it."""
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
NEVER_NAMES = END_OF_FROM | _words("SELECT ON USING AS WITH AND DEFAULT JOIN INNER LEFT CROSS WHEN")
JOINS = _words("JOIN STRAIGHT_JOIN APPLY")
LEADING = _words("TABLE NEXT VALUE ROWS")
"""What may be a name, and may lead to one."""


TELLING = END_OF_FROM | JOINS | _words("SELECT WITH FROM INTO AS")
"""The words that mean something wherever they stand."""
STARTERS = _words("SELECT INSERT UPDATE DELETE MERGE EXEC EXECUTE")
"""What begins a statement also without a semicolon before it, where the dialect has that."""
WITHIN = _words("THEN FOR AS , . (")
"""Behind these a word of `STARTERS` belongs to the statement that is being read."""
TRANSACTION = _words(
    "TRANSACTION TRAN WORK DISTRIBUTED DEFERRED IMMEDIATE EXCLUSIVE CONCURRENT ISOLATION READ NOT"
    " DEFERRABLE"
)
"""What may follow BEGIN where it begins a transaction and not a block of code."""


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


READ, _UNKNOWN, _QUIET = Operation(), Operation(writes=True), Operation(writes=True, quiet=True)
CALLS = _words("CALL EXEC EXECUTE")
PLACEHOLDERS = tuple("?:%$@")
"""What a placeholder begins with."""
RESULT = "="
"""What a call that puts its result into a placeholder is said to name until it names more."""
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
    "COPY": _CHANGE._replace(passed=_words("INTO")),
    "CALL": _CHANGE._replace(passed=_words("VALUE FOR")),
    **dict.fromkeys(("EXEC", "EXECUTE"), _CHANGE._replace(passed=_words("IMMEDIATE PROCEDURE"))),
    **dict.fromkeys(("GRANT", "REVOKE", "DENY", "DO", "LOAD", "CHANGE"), _QUIET),
    **dict.fromkeys(("BACKUP", "RESTORE", "CONNECT", "OPEN", "XA", "HANDLER"), _QUIET),
    **dict.fromkeys(("SECURITY", "REASSIGN", "IMPORT", "ADMINISTER"), _QUIET),
    **dict.fromkeys(("SHOW", "SET"), READ._replace(quiet=True)),
    **dict.fromkeys(("USE", "DESCRIBE", "DESC", "TABLE"), Operation(passed=_words("TABLE"))),
    **dict.fromkeys(("PREPARE", "DEALLOCATE", "NOTIFY", "KILL", "FLUSH"), _UNKNOWN),
    **dict.fromkeys(("LISTEN", "UNLISTEN", "DISCARD", "CHECKPOINT", "CLUSTER", "ATTACH"), _UNKNOWN),
    **dict.fromkeys(("VALUES", "EXPLAIN", "BEGIN", "COMMIT", "END", "ABORT", "SAVEPOINT"), READ),
    **dict.fromkeys(("FETCH", "MOVE", "CLOSE", "RESET", "DECLARE"), READ),
    "DETACH": _CHANGE._replace(passed=_words("DATABASE")),
    "PRAGMA": Operation(passed=frozenset()),
    "ROLLBACK": READ._replace(also=_words("TO SAVEPOINT")),
    "XA": READ._replace(also=_words("BEGIN START END PREPARE COMMIT ROLLBACK RECOVER")),
    "RELEASE": READ._replace(also=_words("SAVEPOINT")),
    "START": READ._replace(also=_words("TRANSACTION")),
    "UNLOCK": READ._replace(also=_words("TABLES")),
}
"""What may begin a statement. What is not here gives no summary and counts as a change."""

BODIES = _words("INSERT UPDATE DELETE MERGE")
"""What may begin the body of a CTE, besides a SELECT."""

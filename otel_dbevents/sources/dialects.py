r"""How the families of SQL read the same text: quotes, comments, escapes, numbers, placeholders.

==================  ==========  =====  ======  ======  ======  =======
what                postgresql  mysql  sqlite  mssql   oracle  unknown
==================  ==========  =====  ======  ======  ======  =======
``"a"``             name        text   either  name    name    either
``[a]``             subscript   -      name    name    -       either
``'\''``            two         one    two     two     two     the rest
``E'\''``           text        -      -       -       -       the rest
``q'[it's]'``       -           -      -       -       text    text
``#``               operator    rest   -       letter  letter  rest
``--a``             rest        minus  rest    rest    rest    rest
``/* /* */``        open        ends   ends    open    ends    open
``$1.50``           -           -      -       money   -       money
``t@link``          -           -      -       -       name    -
``EXECUTE p``       prepared    prep.  -       call    -       either
==================  ==========  =====  ======  ======  ======  =======

Where nobody says which dialect it is, the reading is taken that hides more. What only the server
knows (MySQL's ANSI_QUOTES and NO_BACKSLASH_ESCAPES, SQL Server's QUOTED_IDENTIFIER, PostgreSQL's
standard_conforming_strings) is taken to be as it is by default.
"""

from typing import NamedTuple

PLAIN = r"'[^']*+(?:''[^']*+)*+'"
_ESCAPED = r"'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'"
_ESCAPED_DOUBLE = r'"[^"\\]*+(?:(?:""|\\.)[^"\\]*+)*+"'
_DOUBTFUL = r"'[^'\\]*+(?:(?:''|\\[^'])[^'\\]*+)*+'"
_LINE = r"--[^\r\n]*+"
# A string that goes on in the next line keeps its escapes there.
_CONTINUED = rf"(?:(?:[^\S\r\n]|{_LINE})*+[\r\n](?:\s|{_LINE}[\r\n])*+{_ESCAPED})*+"
_ORACLE_Q = (
    r"[nN]?+[qQ]'(?:\[.*?\]'|\{.*?\}'|\(.*?\)'|<.*?>'|(?P<q>[^\s\[\{\(<]).*?(?P=q)'|(?P<lost>.*))"
)
# What stands in a comment that MySQL runs is SQL: a string may hold the comment's end.
_RUN_COMMENT = rf"(?:{_ESCAPED}|{_ESCAPED_DOUBLE}|`[^`]*+`|['\"`].*+|[^*'\"`]++|\*(?!/))*+(?:\*/)?"


class Dialect(NamedTuple):
    """What differs between the families of SQL."""

    name: str
    strings: str = PLAIN
    escapes: str = r"(?!)"
    """A form of string that is tried before ``strings``."""
    quoted: str = r'"[^"]*+(?:""[^"]*+)*+"'
    line_comment: str = r"--[^\n]*+"
    nested_comments: bool = False
    run_comment: str = ""
    """The rest of a comment that is executed, behind its ``/*``."""
    brackets: str = ""
    letters: str = "$"
    """What a word may hold besides letters, digits and underscore."""
    numbered: str = r"\?"
    """The question mark and what belongs to it."""
    money: str = ""
    variables: str = r"@@?[^\W\d][\w$.]*+"
    ctes_see_themselves: bool = True
    """A CTE's name stands for itself within its own body, also without RECURSIVE."""
    links: bool = False
    """``table@link`` is one name."""
    execute_calls: bool = False
    """EXECUTE calls a procedure, and does not run a prepared statement."""
    follows_on: bool = False
    """A statement may follow another without a semicolon."""


POSTGRESQL = Dialect(
    "postgresql",
    escapes=f"[eE]{_ESCAPED}{_CONTINUED}",
    nested_comments=True,
    ctes_see_themselves=False,
)
MYSQL = Dialect(
    "mysql",
    strings=_ESCAPED,
    quoted=_ESCAPED_DOUBLE,
    line_comment=r"(?:-{2,}(?=\s|/\*|\#|\Z)|\#)[^\n]*+",
    run_comment=_RUN_COMMENT,
    ctes_see_themselves=False,
)
SQLITE = Dialect("sqlite", brackets=r"\[[^\]]*+\]", numbered=r"\?\d*+")
MSSQL = Dialect(
    "mssql",
    nested_comments=True,
    brackets=r"\[[^\]]*+(?:\]\][^\]]*+)*+\]",
    letters="$#",
    money=r"|\$\d[\d.]*+",
    execute_calls=True,
    follows_on=True,
)
ORACLE = Dialect("oracle", escapes=_ORACLE_Q, letters="$#", variables=r"(?!)", links=True)
UNKNOWN = Dialect(
    "",
    strings=_DOUBTFUL,
    escapes=_ORACLE_Q,
    line_comment=r"(?:--|\#(?!>))[^\n]*+",
    nested_comments=True,
    run_comment=_RUN_COMMENT,
    brackets=r"(?<![\w\])])\[[^\W\d]\w*+(?:\x20[^\W\d]\w*+)*+\]",
    numbered=r"\?\d*+",
    money=r"|\$\d++\.\d[\d.]*+",
)

_FAMILIES = {
    "mariadb": MYSQL,
    "libsql": SQLITE,
    "turso": SQLITE,
    "microsoft.sql_server": MSSQL,
    "oracle.db": ORACLE,
    "cockroachdb": POSTGRESQL,
    "redshift": POSTGRESQL,
    "aws.redshift": POSTGRESQL,
} | {known.name: known for known in (POSTGRESQL, MYSQL, SQLITE, MSSQL, ORACLE)}


def family(dialect: str) -> Dialect:
    """Return the family of SQLAlchemy's dialect name or a ``db.system.name``."""
    return _FAMILIES.get(dialect.lower(), UNKNOWN)

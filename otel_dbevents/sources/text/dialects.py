r"""How the families of SQL read the same text: quotes, comments, escapes, numbers, placeholders.

==================  ==========  ========  ======  ======  ======  =======
what                postgresql  mysql     sqlite  mssql   oracle  unknown
==================  ==========  ========  ======  ======  ======  =======
``"a"``             name        text      either  name    name    either
backticks           operator    name      name    -       -       name?
``[a]``             subscript   -         name    name    -       either
``$a$ .. $a$``      text        text?     text?   text?   text?   text?
``\'`` in quotes    the end     a quote   the end the end the end a quote?
``E'\''``           text        -         -       -       -       a quote?
``q'[it's]'``       -           -         -       -       text    text
``#a``              operator    comment   -       name    -       comment?
``--a``             comment     minus     comment comment comment comment?
``/* /* */``        is open     closed    closed  open    closed  is open?
``$1.50``           -           -         -       money   -       money
``t@link``          -           -         -       -       name    -
``EXECUTE p``       prepared    prepared  -       call    -       either
==================  ==========  ========  ======  ======  ======  =======

A question mark: all that follows is hidden if another reading would see a literal in it.
Where nobody says which dialect it is, the reading is taken that hides more. What only the server
knows (MySQL's ANSI_QUOTES and NO_BACKSLASH_ESCAPES, SQL Server's QUOTED_IDENTIFIER, PostgreSQL's
standard_conforming_strings) is taken to be as it is by default.
"""

from typing import NamedTuple

PLAIN = r"'[^']*+(?:''[^']*+)*+'"
_ESCAPED = r"'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'"
_ESCAPED_DOUBLE = r'"[^"\\]*+(?:(?:""|\\.)[^"\\]*+)*+"'
_DOUBTFUL = r"'[^'\\]*+(?:(?:''|\\[^'])[^'\\]*+)*+'"
_DOUBTFUL_DOUBLE = r'"[^"\\]*+(?:(?:""|\\[^"])[^"\\]*+)*+"'
_BACKTICKS = r"`[^`]*+(?:``[^`]*+)*+`"
_DOLLAR = r"\$(?P<tag>(?:[^\W\d]\w*+)?+)\$(?:.*?\$(?P=tag)\$|(?P<open>.*))"
# Where a dialect has no such text it is a mistake: what is in it or, in doubt, the rest is hidden.
_DOLLAR_IN_DOUBT = _DOLLAR.replace(".*?", r"[^'\"`\[/#-]*?")
NUMBER = r"0[xX](?:[\da-fA-F_]|\\\r?\n)*+|\.?\d(?:[eE][+-]?\d|[\w.])*+"
# Nobody is sure whether a carriage return alone ends a comment there: the rest is hidden.
_RETURN = r"--[^\r\n]*+\r(?!\n).*"
# A comment for some only, with what could be text for the others.
_NO_COMMENT_FOR_ALL = r"(?:\#(?!>)|--(?!\s))[^\n'\"`$/]*+['\"`$/].*"
# A text in dollars behind a number or a driver's placeholder, or a name that goes on.
_DOLLARS_BEHIND = r"(?:\d\w*+|:[^\W\d]\w*+|%[sbt]|%\(\w++\)s)\$.*"
_LINE = r"--[^\r\n]*+"
# A string that goes on in the next line keeps its escapes there.
_NEXT_LINE = rf"(?:[^\S\r\n]|{_LINE})*+[\r\n](?:\s|{_LINE}[\r\n])*+"
_CONTINUED = rf"(?:{_NEXT_LINE}{_ESCAPED})*+(?!{_NEXT_LINE}')"
_ORACLE_Q = (
    r"[nN]?+[qQ]'(?:\[.*?\]'|\{.*?\}'|\(.*?\)'|<.*?>'|(?P<q>[^\s\[\{\(<]).*?(?P=q)'|(?P<lost>.*))"
)
# What stands in a comment that MySQL runs is SQL: text or a comment may hold the comment's end.
_MYSQL_LINE = r"(?:-{2,}(?=[\x00-\x20\x7f]|\Z)|\#)[^\n]*+"
_RUN_COMMENT = (
    rf"(?:{_ESCAPED}|{_ESCAPED_DOUBLE}|{_BACKTICKS}|['\"`].*+|/\*(?:.*?\*/|.*+)|{_MYSQL_LINE}"
    r"|[^*'\"`/\#-]++|[/-]|\*(?!/))*+(?:\*/)?"
)


_E, _Q = "[eE]", "[nN]?[qQ]"


def _number_before(prefix: str) -> str:
    """Return a number, and the word without a gap behind it unless it begins a string."""
    digits = r"\.?\d[\d_.]*+(?:[eE][+-]?\d[\d_]*+)?+"
    return rf"{digits}(?:(?!{prefix}')[^\W\d][\w$]*+)?+"


class Dialect(NamedTuple):
    """What differs between the families of SQL."""

    name: str
    strings: str = PLAIN
    escapes: str = r"(?!)"
    """A form of string that is tried before ``strings``."""
    prefix: str = r"(?!)"
    """What that form begins with, before its quote."""
    quoted: str = r'"[^"]*+(?:""[^"]*+)*+"'
    names: str = r"(?!)"
    """Names in other quotes than double ones."""
    opens: str = "'\""
    """What begins text that runs to the end if it is never closed, as characters of a class."""
    dollar: str = _DOLLAR_IN_DOUBT
    number: str = NUMBER
    line_comment: str = r"--[^\n]*+"
    doubt: str = r"(?!)"
    """What could be read in two ways: all that follows is hidden."""
    nested_comments: bool = False
    run_comment: str = ""
    """The rest of a comment that is executed, behind its ``/*``."""
    begins: str = r"[^\W\d]"
    """What a word begins with."""
    letters: str = "$"
    """What a word may hold besides letters, digits and underscore."""
    numbered: str = r"\?"
    """The question mark and what belongs to it."""
    variables: str = r"@@?[^\W\d][\w$.]*+|\$(?:\d++|[^\W\d]\w*+)"
    """Placeholders and variables that begin with ``@`` or ``$``."""
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
    escapes=rf"[eE](?:{_ESCAPED}{_CONTINUED}|'(?P<lost>.*))",
    prefix=_E,
    dollar=_DOLLAR,
    variables=r"\$\d++",
    number=_number_before(_E),
    line_comment=_LINE,
    doubt=_DOLLARS_BEHIND,
    nested_comments=True,
    ctes_see_themselves=False,
)
MYSQL = Dialect(
    "mysql",
    strings=_ESCAPED,
    quoted=_ESCAPED_DOUBLE,
    names=_BACKTICKS,
    opens="'\"`",
    line_comment=_MYSQL_LINE,
    run_comment=_RUN_COMMENT,
    ctes_see_themselves=False,
)
SQLITE = Dialect("sqlite", names=rf"{_BACKTICKS}|\[[^\]]*+\]", opens="'\"`[", numbered=r"\?\d*+")
MSSQL = Dialect(
    "mssql",
    nested_comments=True,
    names=r"\[[^\]]*+(?:\]\][^\]]*+)*+\]",
    opens="'\"[",
    doubt=_RETURN,
    begins=r"\#{0,2}[^\W\d]",
    letters="$#",
    number=rf"{NUMBER}|\$\d[\d.]*+",
    execute_calls=True,
    follows_on=True,
)
ORACLE = Dialect(
    "oracle",
    escapes=_ORACLE_Q,
    prefix=_Q,
    doubt=_RETURN,
    letters="$#",
    number=_number_before(_Q),
    variables=r"(?!)",
    links=True,
)
UNKNOWN = Dialect(
    "",
    strings=_DOUBTFUL,
    escapes=_ORACLE_Q,
    prefix=_Q,
    quoted=_DOUBTFUL_DOUBLE,
    names=r"`(?:[\w\x20.:@]|-(?!-))*+`|(?<![\w\])])\[[^\W\d]\w*+(?:\x20[^\W\d]\w*+)*+\]",
    opens="'\"`",
    number=rf"{NUMBER}|\$\d++\.\d[\d.]*+",
    line_comment=r"(?:--|\#(?!>))[^\n]*+",
    doubt=f"{_RETURN}|{_NO_COMMENT_FOR_ALL}",
    nested_comments=True,
    run_comment=_RUN_COMMENT,
    numbered=r"\?\d*+",
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

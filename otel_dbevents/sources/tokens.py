r"""SQL text in tokens: one compiled expression per family of dialects, one pass, no backtracking.

Every quantifier that could be tried twice is possessive, so the work grows with the length of the
text and nothing else. What opens and never closes (a string, a quoted name, a comment) runs to the
end of the text, so that nothing of it can be taken for SQL.

Where dialects read the same text differently the caller's dialect decides. An unknown dialect
takes the reading that hides more: ``\'`` hides the rest of the text, ``#`` begins a comment, and
a double-quoted word is a name only where nothing but a name can stand.
"""

import re
from functools import cache
from typing import Any, NamedTuple

WORD, NAME, VALUE, PARAM, MARK, SPACE, QUOTED, CUT = range(8)
"""Kinds: bare word, quoted name, literal, placeholder, operator or punctuation, gap (white space or
comment), double-quoted text that may be a name or a literal, and a literal that never ends."""

_KINDS = {
    "word": WORD,
    "name": NAME,
    "value": VALUE,
    "number": VALUE,
    "param": PARAM,
    "mark": MARK,
    "space": SPACE,
    "quoted": QUOTED,
    "cut": CUT,
}

_PLAIN = r"'[^']*+(?:''[^']*+)*+'"
_ESCAPED = r"'[^'\\]*+(?:(?:''|\\.)[^'\\]*+)*+'"
_DOUBTFUL = r"'[^'\\]*+(?:(?:''|\\[^'])[^'\\]*+)*+'"
_ORACLE_Q = (
    r"[nN]?+[qQ]'(?:\[.*?\]'|\{.*?\}'|\(.*?\)'|<.*?>'|(?P<q>[^\s\[\{\(<]).*?(?P=q)'|(?P<lost>.*))"
)
_DOLLAR = r"\$(?P<tag>(?:[^\W\d]\w*+)?+)\$(?:.*?\$(?P=tag)\$|(?P<open>.*))"
_NUMBER = r"0[xX][\da-fA-F_]*+|\.?\d(?:[eE][+-]?\d|[\w.])*+"


class Dialect(NamedTuple):
    """What differs between the families of SQL, as far as reading tokens goes."""

    name: str
    strings: str = _PLAIN
    escapes: str = r"(?!)"
    """A form of string that is tried before ``strings``."""
    quoted: str = r'"[^"]*+(?:""[^"]*+)*+"'
    line_comment: str = r"--[^\n]*+"
    nested_comments: bool = False
    brackets: str = ""
    letters: str = "$"
    """What a word may hold besides letters, digits and underscore."""
    numbered: str = r"\?"
    """The question mark and what belongs to it."""
    money: str = ""
    ctes_see_themselves: bool = True
    """A CTE's name stands for itself within its own body, also without RECURSIVE."""


POSTGRESQL = Dialect(
    "postgresql", escapes=f"[eE]{_ESCAPED}", nested_comments=True, ctes_see_themselves=False
)
MYSQL = Dialect(
    "mysql",
    strings=_ESCAPED,
    quoted=r'"[^"\\]*+(?:(?:""|\\.)[^"\\]*+)*+"',
    line_comment=r"(?:-{2,}(?=\s|/\*|\#|\Z)|\#)[^\n]*+",
    ctes_see_themselves=False,
)
SQLITE = Dialect("sqlite", brackets=r"\[[^\]]*+\]", numbered=r"\?\d*+")
MSSQL = Dialect(
    "mssql",
    nested_comments=True,
    brackets=r"\[[^\]]*+(?:\]\][^\]]*+)*+\]",
    letters="$#",
    money=r"|\$\d[\d.]*+",
)
ORACLE = Dialect("oracle", escapes=_ORACLE_Q, letters="$#")
UNKNOWN = Dialect(
    "",
    strings=_DOUBTFUL,
    escapes=_ORACLE_Q,
    line_comment=r"(?:--|\#(?!>))[^\n]*+",
    nested_comments=True,
    brackets=r"(?<![\w\])])\[[^\W\d]\w*+(?:\x20[^\W\d]\w*+)*+\]",
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
} | {known.name: known for known in (POSTGRESQL, MYSQL, SQLITE, MSSQL, ORACLE)}

_LOST = {"dollar": "open", "special": "lost"}
"""The part of a literal that matched only because the literal never ends."""
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Lexicon:
    """Reads the tokens of one family of dialects."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        placeholder = rf"""
            {dialect.numbered}(?!\|(?!\|)|&)|%[sbt](?!\w)|%\([^\W\d]\w*+\)s(?!\w)
            |\$\w++|@@?[^\W\d][\w$.]*+
            |(?<![\w\])\['"?:`]):(?:[^\W\d]\w*+|\d++)"""
        value = rf"(?:[nNbBxX]|[uU]&|_\w+)?+{dialect.strings}"
        self._match = _compile(_ANY, dialect, placeholder, value)
        self._match_values = _compile(_VALUES, dialect, placeholder, value)
        self._match_rows = _compile(_ROWS, dialect, placeholder, value)

    def token(self, sql: str, at: int) -> tuple[int, int, int]:
        """Return kind, begin and end of the first token from ``at`` on; white space is passed."""
        found = self._match(sql, at)
        if found is None:  # pragma: no cover - the last alternative takes any character
            return MARK, at, at + 1
        group = found.lastgroup or ""
        begin, end = found.span(group)
        kind = _KINDS.get(group)
        if kind is not None:
            return kind, begin, end
        if group == "comment":
            return SPACE, begin, _comment_end(sql, end, nested=self.dialect.nested_comments)
        lost = _LOST.get(group, "")
        ends = lost not in found.re.groupindex or found[lost] is None
        return VALUE if ends else CUT, begin, end

    def skip_values(self, sql: str, at: int) -> int:
        """Return where the further values of a list end, or ``at`` when it holds anything else."""
        found = self._match_values(sql, at)
        return found.end() if found else at

    def skip_rows(self, sql: str, at: int) -> int:
        """Return where the further rows after VALUES end, as far as they hold values alone."""
        found = self._match_rows(sql, at)
        return found.end() if found else at


@cache
def lexicon(dialect: str) -> Lexicon:
    """Return the lexicon for SQLAlchemy's dialect name or a ``db.system.name``."""
    family = _FAMILIES.get(dialect.lower(), UNKNOWN)
    return Lexicon(family) if family.name == dialect else lexicon(family.name)


_ANY = r"""
    \s*+(?:
    (?P<special>{d.escapes})
    |(?P<value>{value})
    |(?P<word>{start}{letter}*+)
    |(?P<space>{d.line_comment}|\Z)
    |(?P<comment>/\*)
    |(?P<name>`[^`]*+(?:``[^`]*+)*+`{brackets})
    |(?P<quoted>{d.quoted})
    |(?P<cut>['"`].*{open_bracket})
    |(?P<dollar>{dollar})
    |(?P<number>{number})
    |(?P<param>{placeholder})
    |(?P<mark>-{{2,}}+|::|:=|->>?|\#>>?|@>|<@|\?[|&]|\|\||<=>|<=|>=|<>|!=|==|.)
    )
"""
_VALUE = r"(?:{placeholder}|{value}|{number})(?:::\w++)?+"
_VALUES = rf"(?:\s*+,\s*+{_VALUE})++(?=\s*+\))"
_ROWS = rf"(?:\s*+,\s*+\(\s*+{_VALUE}(?:\s*+,\s*+{_VALUE})*+\s*+\))++"


def _compile(template: str, dialect: Dialect, placeholder: str, value: str) -> Any:
    marks = "#" in dialect.letters
    text = template.format(
        d=dialect,
        placeholder=placeholder,
        value=value,
        number=_NUMBER + dialect.money,
        dollar=_DOLLAR,
        start=r"(?:\#{1,2}[^\W\d]|[^\W\d])" if marks else r"[^\W\d]",
        letter=rf"[\w{dialect.letters}]",
        brackets=f"|{dialect.brackets}" if dialect.brackets else "",
        open_bracket=r"|\[.*" if dialect.name in ("mssql", "sqlite") else "",
    )
    return re.compile(text, re.VERBOSE | re.DOTALL).match


def _comment_end(sql: str, at: int, *, nested: bool) -> int:
    if not nested:
        close = sql.find("*/", at)
        return len(sql) if close < 0 else close + 2
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, at):
        depth += -1 if edge[0] == "*/" else 1
        if not depth:
            return edge.end()
    return len(sql)

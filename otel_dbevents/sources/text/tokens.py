"""SQL text in tokens: one compiled expression per family of dialects, one pass, no backtracking.

Every quantifier that could be tried twice is possessive, so the work grows with the length of the
text and nothing else. What opens and never closes (a string, a quoted name, a comment) runs to the
end of the text, so that nothing of it can be taken for SQL.

Where dialects read the same text differently the caller's dialect decides (see
`otel_dbevents.sources.text.dialects`).
"""

import re
from functools import cache
from typing import Any

from otel_dbevents.sources.text.dialects import Dialect, family

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
    "plain": MARK,
    "space": SPACE,
    "quoted": QUOTED,
    "cut": CUT,
    "doubt": CUT,
}

_LOST = {"dollar": "open", "special": "lost"}
"""The part of a literal that matched only because the literal never ends."""
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Lexicon:
    """Reads the tokens of one family of dialects."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        placeholder = rf"""
            {dialect.numbered}(?!\|(?!\|)|&)|%[sbt](?!\w)|%\([^\W\d]\w*+\)s(?!\w)
            |{dialect.variables}
            |(?<![\w\])\['"?:`$.]):(?!{dialect.prefix}')(?:[^\W\d]\w*+|\d++)"""
        value = rf"(?:[nNbBxX]|[uU]&|_\w+)?+{dialect.strings}"
        self._match = _compile(_ANY, dialect, placeholder, value)
        self._match_values = _compile(_VALUES, dialect, placeholder, value)
        self._match_rows = _compile(_ROWS, dialect, placeholder, value)
        run_comment = dialect.run_comment
        self._run_comment = re.compile(run_comment, re.DOTALL).match if run_comment else None

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
            end = self._comment_end(sql, end)
            return (CUT, begin, len(sql)) if end < 0 else (SPACE, begin, end)
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

    def _comment_end(self, sql: str, at: int) -> int:
        """Return where a comment ends; -1 if only the dialect could tell."""
        if self._run_comment and sql.startswith(("!", "M!"), at):
            found = self._run_comment(sql, at)
            return found.end() if found else len(sql)
        if not self.dialect.nested_comments:
            close = sql.find("*/", at)
            return len(sql) if close < 0 else close + 2
        depth = 1
        for edge in _COMMENT_EDGE.finditer(sql, at):
            depth += -1 if edge[0] == "*/" else 1
            if not depth:
                return edge.end()
            if not self.dialect.name:
                return -1
        return len(sql)


@cache
def lexicon(dialect: str) -> Lexicon:
    """Return the lexicon for SQLAlchemy's dialect name or a ``db.system.name``."""
    known = family(dialect)
    return Lexicon(known) if known.name == dialect else lexicon(known.name)


_ANY = r"""
    \s*+(?:
    (?P<special>{d.escapes})
    |(?P<value>{value})
    |(?P<word>{d.begins}{letter}*+)
    |(?P<plain>[,();]|\.(?!\d))
    |(?P<doubt>{d.doubt})
    |(?P<space>{d.line_comment}|\Z)
    |(?P<comment>/\*)
    |(?P<name>{d.names})
    |(?P<quoted>{d.quoted})
    |(?P<cut>{opens}.*)
    |(?P<dollar>{d.dollar})
    |(?P<number>{d.number})
    |(?P<param>{placeholder})
    |(?P<mark>-{{2,}}+|::|:=|->>?|\#>>?|@>|<@|\?[|&]|\|\||<=>|<=|>=|<>|!=|==|.)
    )
"""
_VALUE = r"(?:{placeholder}|{value}|{d.number})(?:::\w++)?+"
_VALUES = rf"(?:\s*+,\s*+{_VALUE})++(?=\s*+\))"
_ROWS = rf"(?:\s*+,\s*+\(\s*+{_VALUE}(?:\s*+,\s*+{_VALUE})*+\s*+\))++"


def _compile(template: str, dialect: Dialect, placeholder: str, value: str) -> Any:
    text = template.format(
        d=dialect,
        placeholder=placeholder,
        value=value,
        letter=rf"[\w{dialect.letters}]",
        opens=f"[{re.escape(dialect.opens)}]",
    )
    return re.compile(text, re.VERBOSE | re.DOTALL).match

"""A second reading of SQL's literals and comments, to be compared with the analyser's.

Written from the rules of each database, character by character and without a regular expression,
so that it shares neither code nor mistakes with what it checks. Slow, and for known dialects only.
"""

from collections.abc import Iterator

DIALECTS = ("postgresql", "mysql", "sqlite", "mssql", "oracle")
_NESTED = ("postgresql", "mssql")
_PAIRS = {"[": "]", "{": "}", "(": ")", "<": ">"}
Span = tuple[int, int]


def literals_and_comments(sql: str, dialect: str) -> list[Span]:
    """Return where the text holds literals in quotes, and comments, in their order."""
    return list(_spans(sql, dialect))


def _spans(sql: str, dialect: str) -> Iterator[Span]:
    at, runs = 0, False
    while at < len(sql):
        if runs and sql.startswith("*/", at):
            at, runs = at + 2, False
            continue
        if dialect == "mysql" and not runs and sql.startswith(("/*!", "/*M!"), at):
            at, runs = at + 3, True
            continue
        end = _comment(sql, at, dialect)
        if end == at:
            end = _string(sql, at, dialect)
        if end > at:
            yield at, end
            at = end
        else:
            at = _other(sql, at, dialect)


def _comment(sql: str, at: int, dialect: str) -> int:
    if sql.startswith("--", at) and (dialect != "mysql" or sql[at + 2 : at + 3] <= " "):
        return _line_end(sql, at, dialect)
    if sql[at] == "#" and dialect == "mysql":
        return _line_end(sql, at, dialect)
    if not sql.startswith("/*", at):
        return at
    if dialect not in _NESTED:
        end = sql.find("*/", at + 2)
        return len(sql) if end < 0 else end + 2
    depth, at = 1, at + 2
    while at < len(sql) and depth:
        edge = sql[at : at + 2]
        depth += (edge == "/*") - (edge == "*/")
        at += 2 if edge in ("/*", "*/") else 1
    return at


def _line_end(sql: str, at: int, dialect: str) -> int:
    ends = "\r\n" if dialect == "postgresql" else "\n"
    while at < len(sql) and sql[at] not in ends:
        at += 1
    return at


def _string(sql: str, at: int, dialect: str) -> int:
    """Return where a literal in quotes ends that begins here, its prefix included."""
    lower, quote = sql[at : at + 2].lower(), sql[at]
    if dialect == "postgresql":
        if lower == "e'":
            return _escaped_on(sql, at + 1)
        if quote == "$":
            return _dollar(sql, at)
    if dialect == "oracle":
        skip = 2 if lower == "nq" else 1 if lower[:1] == "q" else 0
        if skip and sql[at + skip : at + skip + 1] == "'":
            return _alternative(sql, at + skip + 1)
    if quote == "'" or (quote == '"' and dialect == "mysql"):
        return _quoted(sql, at, quote, escapes=dialect == "mysql")
    return at


def _quoted(sql: str, at: int, quote: str, *, escapes: bool = False) -> int:
    at += 1
    while at < len(sql):
        if escapes and sql[at] == "\\":
            at += 2
        elif sql[at] != quote:
            at += 1
        elif sql[at + 1 : at + 2] == quote:
            at += 2
        else:
            return at + 1
    return len(sql)


def _escaped_on(sql: str, at: int) -> int:
    """Read an E-string and its further parts, each on a line of its own."""
    end = _quoted(sql, at, "'", escapes=True)
    following, newline = end, False
    while following < len(sql):
        if sql[following] in "\r\n":
            newline = True
        elif sql.startswith("--", following):
            following = _line_end(sql, following, "postgresql")
            continue
        elif sql[following] not in " \t\f\v":
            break
        following += 1
    if newline and sql[following : following + 1] == "'":
        return _escaped_on(sql, following)
    return end


def _dollar(sql: str, at: int) -> int:
    close = at + 1
    while close < len(sql) and (sql[close] == "_" or sql[close].isalnum()):
        close += 1
    if sql[close : close + 1] != "$" or sql[at + 1].isdecimal():
        return at
    tag = sql[at : close + 1]
    end = sql.find(tag, close + 1)
    return len(sql) if end < 0 else end + len(tag)


def _alternative(sql: str, at: int) -> int:
    delimiter = sql[at : at + 1]
    end = sql.find(_PAIRS.get(delimiter, delimiter) + "'", at + 1)
    return len(sql) if end < 0 or not delimiter.strip() else end + 2


def _other(sql: str, at: int, dialect: str) -> int:
    """Pass a word, a quoted name, or one character."""
    first = sql[at]
    if first == '"' or (first == "`" and dialect in ("mysql", "sqlite")):
        return _quoted(sql, at, first)
    if first == "[" and dialect == "mssql":
        return _quoted(sql, at, "]")
    if first == "[" and dialect == "sqlite":
        end = sql.find("]", at)
        return len(sql) if end < 0 else end + 1
    if first in "0123456789":
        return at + 1
    inside = "_$" if dialect not in ("mssql", "oracle") else "_$#"
    begin = at
    while at < len(sql) and (sql[at].isalnum() or sql[at] in inside):
        if at == begin and sql[at] in "$#":
            break
        at += 1
    return max(at, begin + 1)

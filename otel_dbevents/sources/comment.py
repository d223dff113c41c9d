"""The comment behind a statement that carries the trace into the database's own logs.

The form is sqlcommenter's (https://google.github.io/sqlcommenter/spec/): ``key='value'`` pairs,
sorted, percent-encoded, in one comment at the end. What is carried is what the propagator writes;
with W3C Trace Context ``traceparent`` and ``tracestate`` (semantic conventions 1.44,
``docs/db/database-spans.md``, "Context propagation").

It defeats caches that know a statement by its whole text: prepared statements of asyncpg and MySQL,
Oracle's and SQL Server's plans.
"""

import re
from collections.abc import Mapping
from urllib.parse import quote

_PAIRS = re.compile(r"\s*+[^\s=,'*]++='[^']*+'(?:\s*+,\s*+[^\s=,'*]++='[^']*+')*+\s*+")
_LINE_COMMENT = re.compile(r"--|#")
_FORMATS = frozenset(("format", "pyformat"))
_LONGEST = 2_048


def commented(sql: str, carried: Mapping[str, str], paramstyle: str = "") -> str:
    """Return ``sql`` with a comment that carries the pairs, or as it is.

    It stays as it is when nothing is to be carried, when it has such a comment already, or when
    the pairs would take more than 2,048 characters. The comment stands before a closing semicolon
    and on a line of its own where the last line may itself end in a comment. ``paramstyle`` is the
    driver's (PEP 249) when it will look for placeholders in the text: with ``format`` and
    ``pyformat`` each ``%`` is doubled, so that none is taken for one.
    """
    pairs = ",".join(
        f"{_encoded(key)}='{_encoded(value)}'" for key, value in sorted(carried.items()) if value
    )
    if not pairs or len(pairs) > _LONGEST or _is_commented(sql):
        return sql
    if paramstyle in _FORMATS:
        pairs = pairs.replace("%", "%%")
    body = sql.rstrip()
    last = body[body.rfind("\n") + 1 :]
    if _LINE_COMMENT.search(last):
        return f"{body}\n/*{pairs}*/"
    if body.endswith(";"):
        return f"{body[:-1].rstrip()} /*{pairs}*/;"
    return f"{body} /*{pairs}*/"


def _is_commented(sql: str) -> bool:
    """Whether the first or the last thing in ``sql`` is a comment of this form."""
    if "='" not in sql:
        return False
    text = sql.strip().rstrip("; \t\r\n")
    last = text[text.rfind("/*") + 2 : -2] if text.endswith("*/") else ""
    first = text[2 : text.find("*/")] if text.startswith("/*") else ""
    return any(_PAIRS.fullmatch(each) for each in (first, last))


def _encoded(text: str) -> str:
    """Return the text as it stands in a comment: nothing is left that could end it or a quote."""
    return quote(text, safe="-._~")

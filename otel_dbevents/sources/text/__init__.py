"""What the text of a statement says: sanitised text, summary, and whether it may change anything.

Only for SQL that has no statement tree (`text()`, driver SQL). One pass over the tokens feeds a
`Masker`, which keeps everything but literals, and a `Reader`, which finds operations and targets.

The sanitised text follows the semantic conventions 1.44, "Sanitization of db.query.text"
(``docs/db/database-spans.md``): literals of every kind become ``?``, TRUE and FALSE among them
because the page counts booleans as literals; NULL stays, because it is a keyword without a value.
Placeholders stay. Lists of values after IN and rows after VALUES are collapsed, so that texts which
differ only in how many there are become one. Beyond the page: comments are left out (they may hold
secrets and trace ids), white space is a single space, and what is secret without being a literal
(the value of SET and PRAGMA, the file and key of ATTACH, accounts and their passwords, the options
of a server) becomes ``?`` too: see `otel_dbevents.sources.text.zones`.

A double-quoted word is a string in MySQL and MariaDB, a name elsewhere, unless it stands where a
value does and does not look like a name (somebody mistook the quotes). SQLite reads an unknown
name as a string, so there it is taken for one where a value stands (after a comparison or DEFAULT,
in a list of IN or VALUES) and where it does not look like a name. Where the dialect is not known it
is a name only beside a dot, after AS, or where a target must stand.

`dialects` says how each database reads a text, `tokens` cuts it up. `masker` writes it again
without its secrets (`zones`: where bare words are some; `groups`: what is collapsed). `reader`
finds `operations` and `targets`, a subselect and a CTE in a frame of its own (`frames`).
"""

import re
from typing import NamedTuple

from otel_dbevents.sources.summary import join_parts
from otel_dbevents.sources.text.dialects import Dialect
from otel_dbevents.sources.text.masker import Masker
from otel_dbevents.sources.text.reader import Reader
from otel_dbevents.sources.text.tokens import (
    CUT,
    MARK,
    NAME,
    PARAM,
    QUOTED,
    SPACE,
    VALUE,
    Lexicon,
    lexicon,
)


class TextFacts(NamedTuple):
    """What a text says."""

    text: str
    """The statement without literals and comments (``db.query.text``)."""
    summary: str
    """Operations and targets (``db.query.summary``); empty when nothing sensible can be said."""
    writes: bool
    """Whether it may change data or schema, or lock rows for that; True in doubt. Functions that a
    SELECT calls are taken to change nothing."""
    procedure: str = ""
    """The one procedure that CALL or EXEC calls (``db.stored_procedure.name``), as it is written;
    empty when the text does anything else, or names none."""


def analyze(sql: str, *, dialect: str = "") -> TextFacts:
    """Return what ``sql`` says, read as ``dialect`` (SQLAlchemy's name or ``db.system.name``).

    Never raises, whatever the text; the work grows with its length. No literal is in what is
    returned. Sanitising a sanitised text changes nothing.
    """
    words = lexicon(dialect)
    masker, reader = Masker(), Reader(words.dialect)
    at, end, unsure = 0, len(sql), False
    while at < end:
        kind, begin, stop = words.token(sql, at)
        if begin > at or kind == SPACE:
            masker.gap()
        text, at = sql[begin:stop], stop
        if kind == SPACE:
            unsure |= text.startswith(("/*!", "/*M!"))
            continue
        if kind == QUOTED:
            named = _is_name(words.dialect, text, sql[at : at + 2], masker, reader)
            kind = NAME if named else VALUE
        elif (kind == CUT or text == "\\") and "\\'" in sql[:stop]:
            # Escaped as for another database, and so refused by this one: where its strings begin
            # and end is not known.
            return analyze(sql[: sql.index("'")].rstrip("\\") + "'", dialect=dialect)
        elif kind == CUT:
            kind, unsure = VALUE, True
        elif kind == NAME and text[0] == "[" and "'" in text:
            # Where no name is awaited it is an array of another database's.
            if not reader.awaits_name and masker.previous not in ("AS", "."):
                kind = VALUE
        reader.take(kind, text)
        masker.take(kind, text)
        if kind in _MAY_REPEAT:
            at = _skip(words, masker, sql, at)
        if masker.full:
            at, unsure = end, True
    reader.end()
    summary, writes = join_parts(reader.parts), reader.writes or unsure
    return TextFacts(masker.text(), summary, writes, reader.procedure)


_MAY_REPEAT = (VALUE, PARAM, MARK)


def _skip(words: Lexicon, masker: Masker, sql: str, at: int) -> int:
    """Pass over what would be collapsed, without looking at each token of it."""
    repeats = masker.repeats
    if repeats == "values":
        end = words.skip_values(sql, at)
        if end == at:
            masker.reads_on()
        return end
    return words.skip_rows(sql, at) if repeats else at


_BEFORE_VALUE = frozenset(
    "= == <> != < > <= >= || LIKE ILIKE GLOB MATCH REGEXP BETWEEN IS DEFAULT THEN ELSE".split()  # noqa: SIM905
)
_NAME_LIKE = re.compile(r'"[^\W\d][\w ]*+"').fullmatch


def _is_name(family: Dialect, text: str, following: str, masker: Masker, reader: Reader) -> bool:
    """Tell whether double-quoted text is a name; where a literal could be meant, it is not."""
    if family.name == "mysql":
        return False
    dotted = following[:1] == "." and not following[1:].isdecimal()
    if dotted or masker.previous == ".":
        return True
    if reader.awaits_name or masker.previous == "AS":
        return True
    valued = masker.previous in _BEFORE_VALUE or masker.in_values or masker.ends_comparison
    if family.name in ("sqlite", ""):
        return bool(family.name) and not valued and _NAME_LIKE(text) is not None
    return not valued or _NAME_LIKE(text) is not None

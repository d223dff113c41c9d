"""Sanitising: keeps everything of a statement's text but what may be a secret.

What is kept and what is not, and why, is told in `otel_dbevents.sources.text`.
"""

from otel_dbevents.sources.operations import READ_PRAGMAS
from otel_dbevents.sources.tokens import MARK, NAME, PARAM, WORD

LIMIT = 32 * 1024
"""The longest sanitised text, in characters."""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPEN, _TAIL, _WORDS = range(3)
"""What is masked: literals alone, all that follows, or every word that is not known as harmless."""

_ACCOUNT_WORDS = _set(
    "IF NOT EXISTS WITH IDENTIFIED BY AS PASSWORD ENCRYPTED UNENCRYPTED LOGIN NOLOGIN SUPERUSER"
    " NOSUPERUSER CREATEDB NOCREATEDB CREATEROLE NOCREATEROLE INHERIT NOINHERIT REPLICATION VALID"
    " UNTIL IN ROLE USER GROUP ADMIN DEFAULT SCHEMA FOR FROM TO ON CASCADE RESTRICT RENAME SET"
    " RESET ACCOUNT LOCK UNLOCK EXPIRE REQUIRE SSL NONE AND OR REPLACE GRANT OPTION GRANTED ADD"
    " DROP CONNECTION LIMIT MAPPING SERVER OPTIONS USING NULL"
)
_ATTACH_WORDS = frozenset(("DATABASE", "AS", "KEY"))
_CALL_WORDS = _set("OUTPUT OUT DEFAULT NULL WITH RECOMPILE USING IMMEDIATE AS INTO")
_ACCOUNTS = frozenset(("USER", "ROLE", "LOGIN", "GROUP"))
_ASSIGNS = frozenset(("=", ":=", "TO", "FOR", "ROLE", "AUTHORIZATION"))
_BEFORE_OPERAND = _set(
    "SELECT WHERE AND OR NOT IN BETWEEN LIKE THEN ELSE WHEN CASE LIMIT OFFSET VALUES SET BY ON"
    " HAVING RETURNING DEFAULT IS AS INTERVAL DISTINCT ALL"
)


_TELLING = _ACCOUNTS | _ASSIGNS | _set("SELECT VALUES TRUE FALSE IDENTIFIED FROM")
"""The words that mean something wherever they stand."""


class _Group:
    """An open parenthesis, and what is needed to collapse it."""

    __slots__ = ("begin", "cast", "comma", "cut", "flat", "listed", "rows", "selects", "tried")

    def __init__(self, begin: int, listed: str, cut: int) -> None:
        self.begin = begin
        """Where in the output its content begins."""
        self.listed = listed
        """IN, VALUES (then this is a row) or nothing."""
        self.cut = cut
        """Where the output ends once this row is dropped; -1 keeps it."""
        self.flat = True
        """Holds values, placeholders, their casts and groups of these alone."""
        self.rows = self.selects = self.cast = self.tried = False
        """Holds groups; holds a SELECT; a cast is being read; is not values alone to its end."""
        self.comma = -1
        """Where in the output its first comma stands."""


class Masker:
    """Takes the tokens of a text, its gaps too, and keeps what is not a literal."""

    def __init__(self) -> None:
        self._out: list[str] = []
        self._space = False
        self._begin_statement()

    def _begin_statement(self) -> None:
        self.previous = ""
        """The last word, in capitals, or mark; empty after a value or a name."""
        self._operand = False
        """Whether the last token can be the left side of a minus."""
        self._sign = False
        """Whether the last token is the sign of what follows."""
        self._flat_before = False
        self._first = self._second = ""
        self._calls = False
        """Whether this is EXEC, whose bare arguments SQL Server takes for strings."""
        self._zone, self._masked = _OPEN, False
        self._harmless: frozenset[str] = frozenset()
        self._groups: list[_Group] = []
        self._row, self._row_depth, self._row_cut = "", 0, -1
        """After VALUES: next (a row is awaited), done (one was read) or more (after a comma)."""

    @property
    def in_values(self) -> bool:
        """Whether a value of a list of IN or of a row of VALUES begins here."""
        if self.previous not in ("(", ",") or not self._groups:
            return False
        return bool(self._groups[-1].listed) and not self._groups[-1].selects

    @property
    def repeats(self) -> str:
        """What may follow here and would be collapsed: values of a list, rows, or nothing."""
        if self._row == "done" and self.previous == ")" and self._row_depth == len(self._groups):
            return "rows"
        if self.previous or not self._groups:
            return ""
        group = self._groups[-1]
        flat = group.listed == "IN" and group.flat and not group.rows
        return "values" if flat and not group.tried else ""

    def reads_on(self) -> None:
        """Take note that the open list holds more than values, so that it is not tried again."""
        self._groups[-1].tried = True

    @property
    def full(self) -> bool:
        """Whether more was kept than `LIMIT` has room for."""
        return len(self._out) > LIMIT

    def gap(self) -> None:
        """Take white space or a comment."""
        self._space = True

    def take(self, kind: int, text: str) -> None:
        """Take the next token."""
        if text == ";" and kind == MARK:
            self._emit(text)
            self._begin_statement()
        elif self._zone == _TAIL:
            self._hide_tail(kind, text)
        elif self._calls and self._second and "." not in (text, self.previous):
            self._harmless = _CALL_WORDS
            self._hide_words(kind, text)
        elif self._zone == _WORDS:
            self._hide_words(kind, text)
        elif kind == WORD:
            self._word(text)
        elif kind == MARK:
            self._mark(text)
        elif kind == NAME:
            self._second = self._second or text
            self._keep(text, "", flat=False)
        elif kind == PARAM:
            self._value(text, hide=False)
        else:
            self._value("?")

    def text(self) -> str:
        """Return what was kept, at most `LIMIT` characters, cut between tokens."""
        text = "".join(self._out)
        if len(text) <= LIMIT:
            return text
        room = LIMIT - len(" ...")
        for count, part in enumerate(self._out):
            room -= len(part)
            if room < 0:
                return "".join(self._out[:count]).rstrip() + " ..."
        return text  # pragma: no cover - the joined text was longer than the limit

    def _emit(self, text: str) -> None:
        self._out.append(" " + text if self._space and self._out else text)
        self._space = False

    def _keep(self, text: str, previous: str, *, flat: bool) -> None:
        """Put out a token that is no value."""
        if self._groups and not flat and not self._groups[-1].cast:
            self._groups[-1].flat = False
        if self._row and self._row_depth == len(self._groups) and text not in "(),":
            self._row = ""
        self._emit(text)
        self.previous, self._operand, self._sign = previous, not previous, False

    def _value(self, text: str, *, hide: bool = True) -> None:
        if self._sign and hide and not self._space:
            self._space = self._out.pop().startswith(" ")
            if self._groups:
                self._groups[-1].flat = self._flat_before
        self._emit(text)
        self.previous, self._operand, self._sign = "", True, False

    def _word(self, text: str) -> None:
        word, before = text.upper(), self.previous
        if before == "." or not (word in _TELLING or self._row or not self._second):
            self._keep(text, word, flat=False)
            self._operand = before == "." or word not in _BEFORE_OPERAND
        elif word in ("TRUE", "FALSE"):
            self._value("?")
        else:
            if word == "SELECT" and self._groups:
                self._groups[-1].selects = True
            row = word == "ROW" and self._row in ("next", "more")
            state = (self._row, self._row_depth, self._row_cut)
            self._keep(text, word, flat=False)
            self._operand = word not in _BEFORE_OPERAND
            if word == "VALUES":
                self._row, self._row_depth = "next", len(self._groups)
            elif row:
                self._row, self._row_depth, self._row_cut = state
            self._enter_zone(word, before)
            self._count_word(word)

    def _count_word(self, word: str) -> None:
        if not self._first:
            self._first = word
            self._calls = word in ("EXEC", "EXECUTE")
        elif not self._second:
            self._second = word

    def _mark(self, text: str) -> None:
        before = self.previous
        if text == "(":
            self._open(before)
        elif text == ")" and self._groups:
            self._close()
        elif text == ",":
            self._comma()
        elif text in ("-", "+") and not self._operand:
            self._flat_before = bool(self._groups) and self._groups[-1].flat
            self._keep(text, text, flat=False)
            self._sign = True
        else:
            cast = text == "::" and bool(self._groups)
            self._keep(text, text, flat=cast)
            self._operand = text in ")]"
            if cast:
                self._groups[-1].cast = True
        self._enter_zone(text, before)

    def _open(self, before: str) -> None:
        row = self._row in ("next", "more") and self._row_depth == len(self._groups)
        cut = self._row_cut if row and self._row == "more" else -1
        listed = "VALUES" if row else "IN" if before == "IN" else ""
        self._keep("(", "(", flat=True)
        self._groups.append(_Group(len(self._out), listed, cut))

    def _close(self) -> None:
        group = self._groups.pop()
        if group.listed == "IN" and group.flat and len(self._out) > group.begin:
            self._collapse(group)
        self._keep(")", ")", flat=True)
        self._operand = True
        if self._groups and not self._groups[-1].cast:
            outer = self._groups[-1]
            outer.rows, outer.flat = True, outer.flat and group.flat
            outer.selects |= group.selects
        if group.listed == "VALUES":
            if group.cut >= 0 and not group.selects:
                del self._out[group.cut :]
            self._row, self._row_depth = "done", len(self._groups)

    def _collapse(self, group: _Group) -> None:
        """Keep one value of a list, or the first row of a list of rows."""
        self._space = False
        if not group.rows:
            self._out[group.begin :] = ["?"]
        elif group.comma >= 0:
            del self._out[group.comma :]

    def _comma(self) -> None:
        if self._groups:
            group = self._groups[-1]
            group.cast = False
            if group.comma < 0:
                group.comma = len(self._out)
        if self._row == "done" and self._row_depth == len(self._groups):
            self._row, self._row_cut = "more", len(self._out)
        self._keep(",", ",", flat=True)

    def _enter_zone(self, word: str, before: str) -> None:
        """See whether what follows the word or mark is secret without being a literal."""
        first = self._first
        if first == "PRAGMA":
            if word == "=" or (word == "(" and before not in READ_PRAGMAS):
                self._zone = _TAIL
        elif first == "SET" or (first == "ALTER" and self._second in ("SYSTEM", "DATABASE")):
            if word in _ASSIGNS:
                self._zone = _TAIL
        elif not first and word == "ATTACH":
            self._zone, self._harmless = _WORDS, _ATTACH_WORDS
        elif _names_account(first, word, before) and not self._groups:
            self._zone, self._harmless = _WORDS, _ACCOUNT_WORDS

    def _hide_tail(self, kind: int, text: str) -> None:
        """Put one mark in the place of all that follows; a placeholder alone stays."""
        if self._masked:
            self._space = False
            return
        self._masked = True
        pragma = self._first == "PRAGMA"
        self._emit(text if kind == PARAM and not pragma and text[0] != "@" else "?")
        if pragma and self.previous == "(":
            self._out.append(")")

    def _hide_words(self, kind: int, text: str) -> None:
        """Put one mark in the place of a run of words that are not known as harmless."""
        harmless = kind == WORD and text.upper() in self._harmless
        mark = kind == MARK and text in (",", "(", ")", "=")
        placeholder = kind == PARAM and text[0] not in ("?" if self._calls else "?@")
        if harmless or mark or placeholder:
            self._space |= placeholder and self._masked
            self._masked = False
            self._emit(text)
        elif self._masked:
            self._space = False
        else:
            self._masked = True
            self._emit("?")


def _names_account(first: str, word: str, before: str) -> bool:
    """Tell where a statement turns to accounts and their passwords, which may be bare words."""
    if first in ("CREATE", "ALTER", "DROP", "RENAME"):
        return word == "IDENTIFIED" or (
            word in _ACCOUNTS and before in ("CREATE", "ALTER", "DROP", "RENAME", "REPLACE")
        )
    if first == "GRANT":
        return word in ("TO", "IDENTIFIED")
    return first == "REVOKE" and word == "FROM"

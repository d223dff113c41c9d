"""Sanitising: keeps everything of a statement's text but what may be a secret.

What is kept and what is not, and why, is told in `otel_dbevents.sources.text`.
"""

from otel_dbevents.sources.text import zones
from otel_dbevents.sources.text.groups import Group
from otel_dbevents.sources.text.tokens import MARK, NAME, PARAM, WORD

LIMIT = 32 * 1024
"""The longest sanitised text, in characters."""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BEFORE_OPERAND = _set(
    "SELECT WHERE AND OR NOT IN BETWEEN LIKE THEN ELSE WHEN CASE LIMIT OFFSET VALUES SET BY ON"
    " HAVING RETURNING DEFAULT IS AS INTERVAL DISTINCT ALL"
)


_TELLING = zones.TELLING | _set("SELECT VALUES TRUE FALSE")
"""The words that mean something wherever they stand."""


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
        self._watched = True
        """Whether a zone may begin in this statement."""
        self._zone: zones.Zone | None = None
        """What hides the tokens that follow."""
        self._groups: list[Group] = []
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

    @property
    def ends_comparison(self) -> bool:
        """Whether what was read last is the AND of a BETWEEN or the NOT of IS NOT."""
        if self.previous == "NOT":
            return self._before(1) == "IS"
        return self.previous == "AND" and self._before(2) == "BETWEEN"

    def _before(self, count: int) -> str:
        return self._out[-1 - count].strip().upper() if len(self._out) > count else ""

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
            return
        if self._zone is not None and self._hide(self._zone, kind, text):
            return
        if self._calls and self._second and "." not in (text, self.previous):
            self._zone = zones.Words(zones.CALL_WORDS, calls=True)
            self._hide(self._zone, kind, text)
        elif kind == WORD:
            self._word(text)
        elif kind == MARK:
            if text < " " or text == "\x7f":
                self.gap()
            else:
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
        if text.endswith("--"):  # a comment, if it stood at the end
            text = text.rstrip("- ")
        if len(text) <= LIMIT:
            return text
        room = LIMIT - len(" ...")
        for count, part in enumerate(self._out):
            room -= len(part)
            if room < 0:
                return "".join(self._out[:count]).rstrip() + " ..."
        return text  # pragma: no cover - the joined text was longer than the limit

    def _emit(self, text: str) -> None:
        if (
            self._space
            and self._out
            and (self._out[-1][-1] != "-" or not self._ends_in_minus_minus())
        ):
            text = " " + text
        self._out.append(text)
        self._space = False

    def _ends_in_minus_minus(self) -> bool:
        """Whether white space here would make a comment of what follows, which it is not."""
        last = self._out[-1]
        return last.endswith("--") or (
            last == "-" and len(self._out) > 1 and self._out[-2].endswith("-")
        )

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
        if self._groups:
            self._groups[-1].values = True
        if self._row and self._row_depth == len(self._groups):
            self._row = ""
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
            if self._watched:
                self._enter_zone(word, before)
            self._count_word(word)

    def _count_word(self, word: str) -> None:
        if not self._first:
            self._first = word
            self._watched = word in zones.WATCHED
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
        if self._watched and text in zones.TELLING_MARKS:
            self._enter_zone(text, before)

    def _open(self, before: str) -> None:
        row = self._row in ("next", "more") and self._row_depth == len(self._groups)
        cut = self._row_cut if row and self._row == "more" else -1
        listed = "VALUES" if row else "IN" if before == "IN" else ""
        self._keep("(", "(", flat=True)
        self._groups.append(Group(len(self._out), listed, cut))

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

    def _collapse(self, group: Group) -> None:
        """Keep one value of a list, or the first row of a list of rows."""
        self._space = False
        if not group.rows:
            self._out[group.begin :] = ["?"]
        elif group.comma >= 0 and not group.values:
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
        self._zone = zones.zone_behind(
            self._first, self._second, word, before, grouped=bool(self._groups)
        )

    def _hide(self, zone: zones.Zone, kind: int, text: str) -> bool:
        """Put out what a zone shows of a token; False when the zone is over."""
        shown = zone.show(kind, text, gap=self._space)
        if shown is None:
            self._zone = None
            return False
        if shown:
            self._emit(shown)
        else:
            self._space = False
        return True

"""Reads operations and targets of SQL token by token, by the rules of `summary`."""

from otel_dbevents.sources.text import targets
from otel_dbevents.sources.text.dialects import UNKNOWN, Dialect
from otel_dbevents.sources.text.frames import Ctes, Frame, plain
from otel_dbevents.sources.text.operations import (
    BODIES,
    CALLS,
    CODE,
    END_OF_FROM,
    JOINS,
    LEADING,
    NEVER_NAMES,
    NO_TARGET,
    OPERATIONS,
    PLACEHOLDERS,
    READ,
    READ_PRAGMAS,
    RESULT,
    SOURCE,
    STARTERS,
    TARGET,
    TELLING,
    TRANSACTION,
    WRITE_PRAGMAS,
    Operation,
)
from otel_dbevents.sources.text.tokens import MARK, NAME, PARAM, WORD


class Reader:
    """Takes the tokens of a text, without the gaps, and tells its operations and targets."""

    def __init__(self, dialect: Dialect = UNKNOWN) -> None:
        self.parts: list[str] = []
        """Operations and targets in their order."""
        self.writes = False
        """Whether what was read may change data or schema."""
        self._dialect = dialect
        self._telling = TELLING | STARTERS if dialect.follows_on else TELLING
        self._procedures: list[str] = []
        self._others = self._block = False
        self._begin_statement()

    @property
    def procedure(self) -> str:
        """The one procedure that is called; empty if something else is done too."""
        return self._procedures[0] if len(self._procedures) == 1 and not self._others else ""

    def _begin_statement(self) -> None:
        self._frames = [Frame(body=True)]
        self._name: list[str] = []
        self._also: frozenset[str] = frozenset()
        self._cte = ""
        self._ctes = Ctes()
        self._previous = ""
        self._quiet = False
        self._explains = False

    @property
    def awaits_name(self) -> bool:
        """Whether the next token, if it can be a name, is one."""
        return self._frames[-1].awaits_name

    def take(self, kind: int, text: str) -> None:
        """Read the next token."""
        if self._name:
            if self._goes_on(kind, text):
                self._name.append(text)
                return
            self._end_name(text, word=kind in (WORD, NAME))
        previous = text
        if kind == WORD:
            previous = text.upper()
            if (previous in self._telling or self._expects()) and self._previous != ".":
                self._word(previous, text)
        elif kind == MARK:
            self._mark(text)
        elif kind == NAME:
            self._quoted(text)
        else:
            self._value(kind)
        self._previous = previous

    def _goes_on(self, kind: int, text: str) -> bool:
        if text == "." or (text == "@" and self._dialect.links):
            return True
        return self._name[-1] in (".", "@") and kind in (WORD, NAME)

    def _expects(self) -> bool:
        """Whether any word may mean something here; most words of most texts do not."""
        frame = self._frames[-1]
        return (
            bool(frame.start or frame.passed is not None or frame.cte or self._also)
            or self._previous == "FOR"
        )

    def end(self) -> None:
        """Say that no token follows."""
        if self._name:
            self._end_name("", word=False)

    def _word(self, word: str, text: str) -> None:
        if self._dialect.follows_on and len(self._frames) == 1:
            frame = self._frames[0]
            if targets.follows_on(frame, word, self._previous, quiet=self._quiet):
                self._begin_statement()
        frame = self._frames[-1]
        if self._quiet:
            if word == "MAPPING" and self._previous == "USER":
                self.parts.append(text)
            return
        if frame.cte and self._in_with(frame, word, text):
            return
        if word == "SELECT":
            if self._previous != "DO":
                self._begin(frame, word, text, READ)
        elif word == "WITH" and self._may_name_ctes(frame):
            frame.cte, frame.start, frame.passed = "name", False, None
        elif frame.start:
            self._first(frame, word, text)
        elif word in self._also:
            self._name_operation(frame, word, text)
        elif frame.passed is not None:
            self._before_target(frame, word, text)
        else:
            self._clause(frame, word)

    def _begin(self, frame: Frame, word: str, text: str, operation: Operation) -> None:
        self.parts.append(text)
        frame.kind, frame.start, frame.named = word, word in ("EXPLAIN", "BEGIN"), ""
        frame.passed, frame.lists = operation.passed, operation.lists
        self._also, self._quiet = operation.also, operation.quiet
        self._change(operation.writes)
        self._explains |= word == "EXPLAIN"
        self._others |= word not in CALLS and word not in ("DECLARE", "SET")

    def _may_name_ctes(self, frame: Frame) -> bool:
        return frame.start or self._previous == "AS" or frame.kind == "INSERT"

    def _first(self, frame: Frame, word: str, text: str) -> None:
        """Read a word that may begin a statement."""
        if self._explains and word in ("ANALYZE", "ANALYSE"):
            self._explains = False
            return
        top = len(self._frames) == 1
        operation = OPERATIONS.get(word) if frame.body and (top or word in BODIES) else None
        if operation is not None:
            if word == "END" and self._block:
                self._quiet = True
            else:
                self._begin(frame, word, text, operation)
        elif top and not frame.kind:
            self._change(True)
            self._quiet = self._others = True
        elif frame.passed is not None:
            frame.start = False
            self._before_target(frame, word, text)
        else:
            frame.start = self._explains and top
            if frame.kind == "BEGIN" and word not in TRANSACTION:
                self._block = True
                self._change(True)

    def _change(self, writes: bool) -> None:
        self.writes |= writes and not self._explains

    def _name_operation(self, frame: Frame, word: str, text: str) -> None:
        """Take a word that is part of the operation's name, such as the TABLE of CREATE TABLE."""
        self.parts.append(text)
        if OPERATIONS.get(frame.kind, READ).typed and word not in ("MATERIALIZED", "ON"):
            frame.named, self._also = word, frozenset()

    def _before_target(self, frame: Frame, word: str, text: str) -> None:
        if OPERATIONS.get(frame.kind, READ).typed and not frame.named:
            if word in NO_TARGET:
                self.parts.append(text)
                self._quiet = True
        elif frame.passed is None or word in frame.passed:
            return
        elif word in NEVER_NAMES and frame.kind != "PRAGMA":
            frame.passed = None
            self._clause(frame, word)
        else:
            self._name = [text]

    def _clause(self, frame: Frame, word: str) -> None:
        if frame.kind == "SELECT":
            self._select_clause(frame, word)
        elif frame.kind == "INSERT" and word == "INTO":
            frame.passed = TARGET
        elif frame.kind == "PREPARE":
            frame.start = word == "AS"
        elif word in JOINS and not frame.kind and frame.lists:
            frame.passed = SOURCE

    def _select_clause(self, frame: Frame, word: str) -> None:
        if word == "FROM":
            if self._previous != "DISTINCT":
                frame.passed, frame.lists = SOURCE, True
        elif word in JOINS:
            frame.passed = SOURCE
        elif word in END_OF_FROM:
            frame.lists = False
            self._change(word in ("INTO", "LOCK"))
        elif self._previous == "FOR":
            self._change(word in ("UPDATE", "SHARE", "NO", "KEY"))

    def _in_with(self, frame: Frame, word: str, text: str) -> bool:
        """Read a word of a WITH list; False when it begins what follows the list."""
        if frame.cte == "name":
            if word == "RECURSIVE" and self._previous == "WITH":
                frame.recursive = True
            else:
                self._begin_cte(frame, text)
        elif frame.cte == "tail" and (word == "SELECT" or word in OPERATIONS):
            frame.cte, frame.start = "", True
            return False
        elif word == "AS" and frame.cte == "head":
            frame.cte = "body"
        return True

    def _begin_cte(self, frame: Frame, text: str) -> None:
        self._cte = text
        frame.cte = "head"
        if frame.recursive or self._dialect.ctes_see_themselves:
            self._ctes.add(text, frame)

    def _quoted(self, text: str) -> None:
        frame = self._frames[-1]
        frame.start = False
        if frame.cte == "name":
            self._begin_cte(frame, text)
        elif self._previous != "." and not self._quiet and self._ready(frame):
            self._name = [text]

    def _ready(self, frame: Frame) -> bool:
        untyped = OPERATIONS.get(frame.kind, READ).typed and not frame.named
        return frame.passed is not None and not untyped

    def _value(self, kind: int) -> None:
        """Read a literal or a placeholder: it begins nothing and is nobody's name."""
        frame = self._frames[-1]
        frame.start = False
        if self._ready(frame):
            frame.passed = None
            frame.named = RESULT if kind == PARAM and frame.kind in CALLS else ""
        elif frame.named == RESULT:
            frame.named = ""

    def _mark(self, text: str) -> None:
        frame = self._frames[-1]
        if text == "(":
            self._open(frame)
        elif text == ")":
            self._close()
        elif text == ";":
            if self._frames[0].named not in CODE:
                self._begin_statement()
        elif text == ",":
            if frame.cte == "tail":
                frame.cte = "name"
            elif frame.lists:
                frame.passed = SOURCE
        elif text == "=":
            self._equals(frame)
        elif text not in "{}":
            frame.start = frame.start and self._explains

    def _equals(self, frame: Frame) -> None:
        """Read what may stand between the result of a call and the call, or its procedure."""
        self._change(frame.kind == "PRAGMA")
        result = self._previous[:1] in PLACEHOLDERS
        if frame.named == RESULT and result:
            frame.passed, frame.named = OPERATIONS[frame.kind].passed, ""
        frame.start = result and not self.parts and len(self._frames) == 1

    def _open(self, frame: Frame) -> None:
        inner = Frame(body=frame.cte == "body" or frame.kind == "COPY")
        if frame.passed is SOURCE and frame.lists:
            inner.passed, inner.lists = SOURCE, True
        if self._previous not in ("TOP", "VACUUM", "ANALYZE", "REINDEX"):
            frame.passed = None
        frame.start = frame.start and self._explains
        self._frames.append(inner)

    def _close(self) -> None:
        if len(self._frames) == 1:
            return
        self._ctes.leave(self._frames.pop())
        frame = self._frames[-1]
        if frame.cte == "body":
            frame.cte = "tail"
            self._ctes.add(self._cte, frame)

    def _end_name(self, following: str, *, word: bool) -> None:
        """Take the name that was read as a target, unless it names a CTE or Oracle's DUAL."""
        frame, name = self._frames[-1], "".join(self._name)
        last = self._name[-1].upper()
        self._name, self._previous = [], last
        if word and frame.named and targets.qualifies(frame, name, following):
            self.parts.append(name)
            return
        if last in LEADING and targets.leads(frame, name, following, word=word):
            self._others |= frame.kind == "CALL"
            return
        self._also, frame.passed = frozenset(), None
        if frame.kind == "PRAGMA":
            self._pragma(name.rpartition(".")[2].upper(), following)
        self._quiet |= frame.named in CODE
        if plain(name) != "dual" and name not in self._ctes:
            self.parts.append(name)
            self._call(frame, name)

    def _call(self, frame: Frame, name: str) -> None:
        if frame.kind in ("CALL", "EXEC") or (
            frame.kind == "EXECUTE" and self._dialect.execute_calls
        ):
            self._procedures.append(name)

    def _pragma(self, name: str, following: str) -> None:
        self._change(name in WRITE_PRAGMAS or (following == "(" and name not in READ_PRAGMAS))

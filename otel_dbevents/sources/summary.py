"""What a statement does and to what: the operations and targets of SQL, read token by token.

The rules are those of the semantic conventions 1.44, "Generating a summary of the query"
(``docs/db/database-spans.md``): operations and their targets in the order written, case and quotes
kept, at most 255 characters and never cut inside a name. Where the page leaves a choice:

- Every SELECT is an operation of its own, also within UNION and subqueries, and a table named twice
  counts twice.
- INSERT, UPDATE, DELETE and MERGE have one target, the table that changes. What an UPDATE or
  DELETE joins to (FROM, USING) is not named; subselects are.
- A CTE is named by what its body does, not by its own name.
- A literal is never a target, nor is an account, a savepoint, a setting or Oracle's DUAL. In this
  the page's own example of a single-quoted table is not followed: such text may be a secret.
- A body of code (function, procedure, trigger) is not part of the statement that defines it.
"""

from otel_dbevents.sources.operations import (
    ACCOUNTS,
    BODIES,
    CODE,
    END_OF_FROM,
    JOINS,
    NEVER_NAMES,
    OPERATIONS,
    READ,
    READ_PRAGMAS,
    SOURCE,
    TARGET,
    TELLING,
    WRITE_PRAGMAS,
    Operation,
)
from otel_dbevents.sources.tokens import MARK, NAME, WORD

LIMIT = 255
"""The longest summary, in characters."""


def join_parts(parts: list[str]) -> str:
    """Join operations and targets to a summary, leaving out what would pass `LIMIT`."""
    summary = " ".join(parts)
    if len(summary) <= LIMIT:
        return summary
    length = -1
    for count, part in enumerate(parts):
        length += 1 + len(part)
        if length > LIMIT:
            return " ".join(parts[:count])
    return summary  # pragma: no cover - the joined text was longer than the limit


class _Frame:
    """What is known within one pair of parentheses, or outside all of them."""

    __slots__ = ("body", "cte", "ctes", "kind", "lists", "named", "passed", "recursive", "start")

    def __init__(self, *, start: bool = True, body: bool = False) -> None:
        self.start = start
        """A statement may begin here."""
        self.body = body
        """It may be any statement, not only a SELECT."""
        self.kind = ""
        """The operation, in capitals."""
        self.passed: frozenset[str] | None = None
        """The words that may come before a target; None while no target is awaited."""
        self.lists = False
        """After a comma there is another target."""
        self.named = ""
        """The type of object that CREATE and its like speak of."""
        self.cte = ""
        """Where in a WITH list: name, head, body or tail."""
        self.ctes: set[str] = set()
        self.recursive = False


class Reader:
    """Takes the tokens of a text, without the gaps, and tells its operations and targets."""

    def __init__(self, *, ctes_see_themselves: bool = True) -> None:
        self.parts: list[str] = []
        """Operations and targets in their order."""
        self.writes = False
        """Whether what was read may change data or schema."""
        self._see_themselves = ctes_see_themselves
        self._begin_statement()

    def _begin_statement(self) -> None:
        self._frames = [_Frame(body=True)]
        self._name: list[str] = []
        self._also: frozenset[str] = frozenset()
        self._cte = ""
        self._previous = ""
        self._quiet = False
        self._explains = False

    @property
    def awaits_name(self) -> bool:
        """Whether the next token, if it can be a name, is one."""
        frame = self._frames[-1]
        return frame.passed is not None or frame.cte == "name"

    def take(self, kind: int, text: str) -> None:
        """Read the next token."""
        if self._name:
            if text == "." or (self._name[-1] == "." and kind in (WORD, NAME)):
                self._name.append(text)
                return
            self._end_name(text)
        previous = text
        if kind == WORD:
            previous = text.upper()
            if (previous in TELLING or self._expects()) and self._previous != ".":
                self._word(previous, text)
        elif kind == MARK:
            self._mark(text)
        elif kind == NAME:
            self._quoted(text)
        else:
            self._value()
        self._previous = previous

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
            self._end_name("")

    def _word(self, word: str, text: str) -> None:
        frame = self._frames[-1]
        if self._quiet:
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

    def _begin(self, frame: _Frame, word: str, text: str, operation: Operation) -> None:
        self.parts.append(text)
        frame.kind, frame.start, frame.named = word, word in ("EXPLAIN", "BEGIN"), ""
        frame.passed, frame.lists = operation.passed, operation.lists
        self._also, self._quiet = operation.also, operation.quiet
        self._change(operation.writes)
        self._explains |= word == "EXPLAIN"

    def _may_name_ctes(self, frame: _Frame) -> bool:
        return frame.start or self._previous == "AS" or frame.kind == "INSERT"

    def _first(self, frame: _Frame, word: str, text: str) -> None:
        """Read a word that may begin a statement."""
        if self._explains and word in ("ANALYZE", "ANALYSE"):
            self._explains = False
            return
        top = len(self._frames) == 1
        operation = OPERATIONS.get(word) if frame.body and (top or word in BODIES) else None
        if operation is not None:
            self._begin(frame, word, text, operation)
        elif top and not frame.kind:
            self._change(True)
            self._quiet = True
        elif frame.passed is not None:
            frame.start = False
            self._before_target(frame, word, text)
        else:
            frame.start = self._explains and top

    def _change(self, writes: bool) -> None:
        self.writes |= writes and not self._explains

    def _name_operation(self, frame: _Frame, word: str, text: str) -> None:
        """Take a word that is part of the operation's name, such as the TABLE of CREATE TABLE."""
        self.parts.append(text)
        if OPERATIONS[frame.kind].typed and word not in ("MATERIALIZED", "ON"):
            frame.named, self._also = word, frozenset()

    def _before_target(self, frame: _Frame, word: str, text: str) -> None:
        if OPERATIONS.get(frame.kind, READ).typed and not frame.named:
            if word in ACCOUNTS:
                self.parts.append(text)
                self._quiet = True
        elif frame.passed is None or word in frame.passed:
            return
        elif word in NEVER_NAMES and frame.kind != "PRAGMA":
            frame.passed = None
            self._clause(frame, word)
        else:
            self._name = [text]

    def _clause(self, frame: _Frame, word: str) -> None:
        if frame.kind == "SELECT":
            self._select_clause(frame, word)
        elif frame.kind == "INSERT" and word == "INTO":
            frame.passed = TARGET
        elif frame.kind == "PREPARE":
            frame.start = word == "AS"
        elif word in JOINS and not frame.kind and frame.lists:
            frame.passed = SOURCE

    def _select_clause(self, frame: _Frame, word: str) -> None:
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

    def _in_with(self, frame: _Frame, word: str, text: str) -> bool:
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

    def _begin_cte(self, frame: _Frame, text: str) -> None:
        self._cte = text
        frame.cte = "head"
        if frame.recursive or self._see_themselves:
            frame.ctes.add(_plain(text))

    def _quoted(self, text: str) -> None:
        frame = self._frames[-1]
        frame.start = False
        if frame.cte == "name":
            self._begin_cte(frame, text)
        elif self._previous != "." and not self._quiet and self._ready(frame):
            self._name = [text]

    def _ready(self, frame: _Frame) -> bool:
        untyped = OPERATIONS.get(frame.kind, READ).typed and not frame.named
        return frame.passed is not None and not untyped

    def _value(self) -> None:
        """Read a literal or a placeholder: it begins nothing and is nobody's name."""
        frame = self._frames[-1]
        frame.start = False
        if self._ready(frame):
            frame.passed = None

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
        elif text == "=" and frame.kind == "PRAGMA":
            self._change(True)
        elif text not in "{}":
            frame.start = frame.start and self._explains

    def _open(self, frame: _Frame) -> None:
        inner = _Frame(body=frame.cte == "body" or frame.kind == "COPY")
        if frame.passed is SOURCE and frame.lists:
            inner.passed, inner.lists = SOURCE, True
        if self._previous != "TOP":
            frame.passed = None
        frame.start = frame.start and self._explains
        self._frames.append(inner)

    def _close(self) -> None:
        if len(self._frames) == 1:
            return
        self._frames.pop()
        frame = self._frames[-1]
        if frame.cte == "body":
            frame.cte = "tail"
            frame.ctes.add(_plain(self._cte))

    def _end_name(self, following: str) -> None:
        """Take the name that was read as a target, unless it names a CTE or Oracle's DUAL."""
        frame, name = self._frames[-1], "".join(self._name)
        self._name, self._previous = [], self._name[-1].upper()
        self._also, frame.passed = frozenset(), None
        if frame.kind == "PRAGMA":
            self._pragma(name.rpartition(".")[2].upper(), following)
        self._quiet |= frame.named in CODE
        plain = _plain(name)
        if plain != "dual" and not any(plain in outer.ctes for outer in self._frames):
            self.parts.append(name)

    def _pragma(self, name: str, following: str) -> None:
        self._change(name in WRITE_PRAGMAS or (following == "(" and name not in READ_PRAGMAS))


def _plain(name: str) -> str:
    return name.strip('"`[]').casefold()

"""Where a statement turns to what is secret without being a literal, and what of it is shown.

Passwords may be bare words or quoted names (``IDENTIFIED BY word``, ``PASSWORD "word"``), as may
accounts, settings, the options of a server and the connection of a subscription: a mistake in the
quotes makes a statement fail, and failed statements are told too.

A zone begins behind a word or mark and takes token by token. `Zone.show` returns what is put out
for a token: the token, ``?``, or nothing where it belongs to what was hidden before it. It returns
None when the zone is over and the token is to be read as any other.
"""

from typing import Protocol

from otel_dbevents.sources.text.operations import READ_PRAGMAS
from otel_dbevents.sources.text.tokens import MARK, PARAM, WORD


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ACCOUNT_WORDS = _set(
    "IF NOT EXISTS WITH IDENTIFIED BY AS PASSWORD ENCRYPTED UNENCRYPTED LOGIN NOLOGIN SUPERUSER"
    " NOSUPERUSER CREATEDB NOCREATEDB CREATEROLE NOCREATEROLE INHERIT NOINHERIT REPLICATION VALID"
    " UNTIL IN ROLE USER GROUP ADMIN DEFAULT SCHEMA FOR FROM TO ON CASCADE RESTRICT RENAME SET"
    " RESET ACCOUNT LOCK UNLOCK EXPIRE REQUIRE SSL NONE AND OR REPLACE GRANT OPTION GRANTED ADD"
    " DROP CONNECTION LIMIT MAPPING SERVER OPTIONS USING NULL MEMBER HASHED MUST_CHANGE"
)
_ATTACH_WORDS = _set("DATABASE AS KEY")
CALL_WORDS = _set("OUTPUT OUT DEFAULT NULL WITH RECOMPILE USING IMMEDIATE AS INTO")
_ACCOUNTS = _set("USER ROLE LOGIN GROUP")
_BEFORE_ACCOUNTS = _set("CREATE ALTER DROP RENAME REPLACE APPLICATION SERVER")
_ASSIGNS = _set("= := TO FOR ROLE AUTHORIZATION ZONE")
_DEFINES = _set("CREATE ALTER DROP RENAME")
_GRANTS = _set("GRANT REVOKE DENY")
_HOLDS_COLUMNS = _set(
    "TABLE VIEW INDEX UNIQUE TEMPORARY TEMP TRIGGER FUNCTION PROCEDURE OR MATERIALIZED UNLOGGED"
    " VIRTUAL GLOBAL LOCAL TYPE DOMAIN SEQUENCE SCHEMA RULE POLICY FOREIGN EXTERNAL FULLTEXT"
    " CLUSTERED NONCLUSTERED SPATIAL DEFINER ALGORITHM EVENT PACKAGE STATISTICS SYNONYM TRANSIENT"
)
_ADMINISTERS = (
    _DEFINES
    | _GRANTS
    | _set(
        "CONNECT START STOP CHANGE OPEN CLOSE BACKUP RESTORE ADMINISTER COPY UNLOAD IMPORT EXPORT"
    )
)
_KEYS = _set(
    "CREDENTIALS ACCESS_KEY_ID SECRET_ACCESS_KEY SESSION_TOKEN IAM_ROLE TOKEN SECRET"
    " MASTER_SYMMETRIC_KEY AWS_KEY_ID AWS_SECRET_KEY AWS_TOKEN"
)
WATCHED = _ADMINISTERS | {"PRAGMA", "SET"}
"""The first words of the statements in which a zone may begin."""
TELLING = _ACCOUNTS | _ASSIGNS | _KEYS | _set("IDENTIFIED PASSWORD CONNECTION CONNECT FROM OPTIONS")
"""The words behind which a zone may begin, besides the first two of a statement."""
TELLING_MARKS = _set("= := (")


class Zone(Protocol):
    """What hides the tokens that it takes."""

    def show(self, kind: int, text: str, *, gap: bool) -> str | None:
        """Return what is put out; ``gap`` tells whether white space is before the token."""
        ...


class Tail:
    """Hides all that follows; a placeholder alone stays."""

    def __init__(self, *, pragma: bool = False, closing: str = "") -> None:
        self._pragma, self._closing = pragma, closing
        self._masked = False

    def show(self, kind: int, text: str, *, gap: bool) -> str | None:  # noqa: ARG002
        """Return one mark for everything."""
        if self._masked:
            return ""
        self._masked = True
        return (text if not self._pragma and _is_placeholder(kind, text) else "?") + self._closing


class Words:
    """Hides every word that is not known as harmless, to the end of the statement."""

    def __init__(self, harmless: frozenset[str], *, calls: bool = False) -> None:
        self._harmless, self._calls = harmless, calls
        self._masked = False
        self._last = ""

    def show(self, kind: int, text: str, *, gap: bool) -> str | None:
        """Return one mark for each run of hidden tokens."""
        word = text.upper() if kind == WORD else ""
        shown = (word in self._harmless and self._last != "BY") or (
            kind == MARK and text in (",", "(", ")", "=")
        )
        if shown or _is_placeholder(kind, text, variables=self._calls):
            apart = shown or gap or not self._masked
            self._masked, self._last = False, word
            return text if apart else " " + text
        if self._masked:
            return ""
        self._masked, self._last = True, ""
        return "?"


class Next:
    """Hides the one thing that follows, also if it is made of several tokens without a gap."""

    def __init__(self) -> None:
        self._masked = False

    def show(self, kind: int, text: str, *, gap: bool) -> str | None:
        """Return one mark for what is hidden."""
        if kind == MARK and text in ("(", ")", ",", ";"):
            return None
        if self._masked:
            return None if gap else ""
        if (kind == MARK and text == "=") or (kind == WORD and text.upper() in ("BY", "TO", "AS")):
            return text
        self._masked = True
        return text if _is_placeholder(kind, text) else "?"


class Pairs:
    """Hides the values of names and values within parentheses: ``(user u, password = p)``."""

    def __init__(self) -> None:
        self._depth = 0
        self._named = self._masked = False

    def show(self, kind: int, text: str, *, gap: bool) -> str | None:
        """Return names as they are and one mark for each value."""
        if kind == MARK and not self._depth and text in (")", ";"):
            return None
        if kind == MARK and not self._depth and text in (",", "="):
            self._named, self._masked = text == "=", False
            return text
        self._depth += (kind == MARK) * ((text == "(") - (text == ")"))
        if self._masked and (self._depth or not gap):
            return ""
        if self._masked or not self._named:
            return self._name(kind, text)
        self._masked = True
        if _is_placeholder(kind, text):
            return text if gap else " " + text
        return "?"

    def _name(self, kind: int, text: str) -> str:
        self._masked = False
        self._named = not (kind == WORD and text.upper() in ("SET", "ADD", "DROP"))
        return text if kind == WORD else "?"


def _is_placeholder(kind: int, text: str, *, variables: bool = False) -> bool:
    """Tell whether this is a placeholder; ``@x`` and ``$x`` may be the secret itself."""
    if kind != PARAM:
        return False
    return text[0] in ":%" or text[1:].isdecimal() or (variables and text[0] == "@")


def zone_behind(first: str, second: str, word: str, before: str, *, grouped: bool) -> Zone | None:
    """Return the zone that begins behind ``word``, if one does.

    ``first`` and ``second`` are the statement's first two words; ``first`` is empty while ``word``
    itself is the first. ``before`` is what stands before ``word``.
    """
    if first == "PRAGMA":
        if word == "=" or (word == "(" and before not in READ_PRAGMAS):
            return Tail(pragma=True, closing=")" if word == "(" else "")
    elif first == "SET" or (first == "ALTER" and second in ("SYSTEM", "DATABASE")):
        if word in _ASSIGNS:
            return Tail()
        return Words(_ACCOUNT_WORDS) if word == "IDENTIFIED" else None
    elif not first:
        return _at_the_beginning(word)
    elif first in _ADMINISTERS:
        if word == "IDENTIFIED" or (not grouped and _names_account(first, second, word, before)):
            return Words(_ACCOUNT_WORDS)
        return _single(first, second, word, before, grouped=grouped)
    return None


def _at_the_beginning(word: str) -> Zone | None:
    if word == "ATTACH":
        return Words(_ATTACH_WORDS)
    return Words(_ACCOUNT_WORDS) if word == "CONNECT" else None


def _names_account(first: str, second: str, word: str, before: str) -> bool:
    """Tell where a statement turns to accounts and their passwords."""
    if first in _DEFINES:
        if word == "CONNECT":  # of a link to another database
            return second in ("DATABASE", "PUBLIC", "SHARED")
        return word in _ACCOUNTS and before in _BEFORE_ACCOUNTS
    if first in _GRANTS:
        return word == "TO" or (word == "FROM" and first == "REVOKE")
    return False


def _single(first: str, second: str, word: str, before: str, *, grouped: bool) -> Zone | None:
    """Return the zone of one secret, or of the names and values in parentheses."""
    columns = second in _HOLDS_COLUMNS or (first == "COPY" and grouped)
    if word == "(":
        if before in ("OPTIONS", "CREDENTIALS"):
            return Pairs()
        return Next() if before == "PASSWORD" and not columns else None
    if word == "=":
        return Next() if first in ("START", "CHANGE") else None
    if word == "CONNECTION":
        return Next() if second == "SUBSCRIPTION" else None
    secret = second and (word == "PASSWORD" or word in _KEYS)
    return Next() if secret and not columns else None

"""Which words are a target, which lead to one, and which begin the next statement."""

from otel_dbevents.sources.text.frames import Frame
from otel_dbevents.sources.text.operations import (
    NEVER_NAMES,
    OPERATIONS,
    QUALIFIERS,
    READ,
    SOURCE,
    STARTERS,
    TARGET,
    WITHIN,
)


def qualifies(frame: Frame, name: str, following: str) -> bool:
    """Tell whether what looked like a name is part of the object's type."""
    words = QUALIFIERS.get(frame.named, ())
    return name.upper() in words and following.upper() not in NEVER_NAMES


def leads(frame: Frame, name: str, following: str, *, word: bool) -> bool:
    """Tell whether what looked like a name leads to one; ``word``: a word or name follows."""
    name, following = name.upper(), following.upper()
    if name == "TABLE":
        if frame.passed is SOURCE:
            return following == "("
        return frame.passed is TARGET and word and following not in NEVER_NAMES
    if frame.kind == "CALL":
        return (name, following) in (("NEXT", "VALUE"), ("VALUE", "FOR"))
    return frame.kind == "SELECT" and (name, following) == ("ROWS", "FROM")


def follows_on(frame: Frame, word: str, before: str, *, quiet: bool) -> bool:
    """Tell whether a statement begins with ``word`` without a semicolon before it.

    ``frame`` is what is outside all parentheses, ``quiet`` whether its words mean nothing.
    """
    if word not in STARTERS or not frame.kind or frame.cte or (word == "SELECT" and not quiet):
        return False
    operation = OPERATIONS.get(frame.kind, READ)
    return not (operation.typed or (operation.quiet and operation.writes) or before in WITHIN)

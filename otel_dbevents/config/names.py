"""How the settings are called: each one's variable, and what a wrong name was meant to be."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

PREFIX: Final = "OTEL_DBEVENTS_"
_ALIKE: Final = "OTELDBEVENT"
"""How our variables begin, and those that were meant to be ours: OTEL_DBEVENT_, OTEL_DB_EVENTS_."""
_log = logging.getLogger("otel_dbevents")


def variable(name: str) -> str:
    """Return the environment variable of the setting ``name``."""
    return PREFIX + name.upper()


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the end of a complaint about a name: the one that it is like, else all there are."""
    import difflib  # a name is wrong seldom, and before any query

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"


def unknown(environ: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the variables that look like ours and are not, each with a complaint about it."""
    known = sorted(variable(name) for name in names)
    return {
        found.upper(): f"{found} is not a setting of otel_dbevents and is ignored"
        + nearest(found.upper(), known)
        for found in sorted(environ)
        if found.upper().replace("_", "").startswith(_ALIKE) and found.upper() not in known
    }


def warn_of_unknown(environ: Mapping[str, str], names: Iterable[str], told: set[str]) -> None:
    """Say once for each variable that looks like ours and is not; ``told`` keeps which."""
    for found, complaint in unknown(environ, names).items():
        if found not in told:
            told.add(found)
            _log.warning("%s", complaint)

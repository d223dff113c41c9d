"""Where in the application's own code a call came from.

The frames of SQLAlchemy, of this package, of the standard library and of installed packages are
passed over; where nothing else is on the stack (an application that is itself an installed
package) the first frame above SQLAlchemy is taken. An async engine runs its calls in a greenlet:
the search goes on in the coroutine that awaits it.

Taking note of a place (`spot`) costs a walk over some frames and no more; its line and path are
found only for what is told (`locate`).
"""

import os
import sys
import sysconfig
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final, TypeAlias

import sqlalchemy

from otel_dbevents.events import CodeLocation

Spot: TypeAlias = tuple[CodeType, int, str]
"""A code object, the instruction it is at, and its module's name."""

_MACHINERY, _LIBRARY, _APPLICATION = range(3)
_OWN: Final = str(Path(__file__).parents[1]) + os.sep
_DEMO: Final = _OWN + "demo" + os.sep
_SQLALCHEMY: Final = str(Path(sqlalchemy.__file__).parent) + os.sep
_INSTALLED: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_MOST_FILES: Final = 10_000
_kinds: dict[str, int] = {}
"""What each file is, by the name that its code objects carry."""


def spot(above: int = 0) -> Spot | None:
    """Return the application's place in the call that is being made; None where there is none.

    ``above`` frames over the caller's own are known to be none of the application's.
    """
    frame: FrameType | None = sys._getframe(above + 1)
    while frame is not None:
        code = frame.f_code
        kind = _kinds.get(code.co_filename)
        if kind == _APPLICATION or (kind is None and _learn(code.co_filename) == _APPLICATION):
            return code, frame.f_lasti, frame.f_globals.get("__name__", "")
        frame = frame.f_back
    found = _search(sys._getframe(above + 1))
    greenlet: Any = sys.modules.get("greenlet")
    over = None if greenlet is None else greenlet.getcurrent().parent
    while over is not None and (found is None or found[0] != _APPLICATION):
        found = _search(over.gr_frame) or found
        over = over.parent
    return found and found[1:]


def locate(place: Spot | None) -> CodeLocation | None:
    """Return file, line and function of a place."""
    if place is None:
        return None
    code, at, module = place
    name = f"{module}.{code.co_qualname}" if module else code.co_qualname
    return CodeLocation(path_of(code.co_filename), line_of(code, at), name)


def line_of(code: CodeType, at: int) -> int:
    """Return the line of an instruction."""
    line = next((line for begin, end, line in code.co_lines() if begin <= at < end and line), 0)
    return line or code.co_firstlineno


def here() -> CodeLocation | None:
    """Return the application's place in the call that is being made, ready to be told."""
    return locate(spot(1))


def _search(frame: FrameType | None) -> tuple[int, CodeType, int, str] | None:
    """Return the first frame of the application, else the first one above SQLAlchemy."""
    second = None
    while frame is not None:
        code = frame.f_code
        kind = _kinds.get(code.co_filename)
        if kind is None:
            kind = _learn(code.co_filename)
        if kind == _APPLICATION or (kind == _LIBRARY and second is None):
            found = (kind, code, frame.f_lasti, frame.f_globals.get("__name__", ""))
            if kind == _APPLICATION:
                return found
            second = found
        frame = frame.f_back
    return second


def _learn(file: str) -> int:
    if len(_kinds) >= _MOST_FILES:
        _kinds.clear()
    kind = _kinds[file] = _kind(file)
    return kind


def is_own(file: str) -> bool:
    """Whether a file is of this package, and not of its demonstration, which is an application."""
    return file.startswith(_OWN) and not file.startswith(_DEMO)


def _kind(file: str) -> int:
    if file.startswith(_SQLALCHEMY) or is_own(file):
        return _MACHINERY
    if file.startswith("<"):  # made at run time: SQLAlchemy's own decorators among them
        return _MACHINERY
    if file.startswith(_DEMO):  # an application, though it is installed along with us
        return _APPLICATION
    if "site-packages" in file or "dist-packages" in file or file.startswith(_INSTALLED):
        return _LIBRARY
    return _APPLICATION


def path_of(file: str) -> str:
    """Return the file's path below the folder it was imported from; no folder above is told."""
    path = Path(file)
    if not path.is_absolute():
        return path.as_posix()
    roots = [Path(entry or ".").absolute() for entry in (".", *sys.path)]
    below = [path.relative_to(root) for root in roots if path.is_relative_to(root)]
    return min(below, key=lambda each: len(each.parts), default=Path(path.name)).as_posix()

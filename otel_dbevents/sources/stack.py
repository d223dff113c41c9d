"""The stack of a call that failed: file, line and function of each frame, and nothing else.

No line of source, which may hold a literal, no value and no message of the error's. Frames of this
package are left out. Of paths only what is below the folder that Python imported from is told.

Taking note of one is a walk over its frames; it is written as text when a log record is, once for
all failures that came the same way.
"""

import sys
from types import CodeType, FrameType, TracebackType
from typing import Any, Final

from opentelemetry.context import Context

from otel_dbevents.events import redact
from otel_dbevents.sources.failure import exception_name
from otel_dbevents.sources.location import Spot, is_own, line_of, path_of
from otel_dbevents.stacks import with_stack

_MOST_ABOVE: Final = 40
_MOST_BELOW: Final = 40
_MOST_KNOWN: Final = 256
_known: Final[dict[tuple[object, ...], "Trace"]] = {}
"""By what they consist of: a storm of failures that came the same way holds one."""


class Trace:
    """One way to a failure, the outermost frame first."""

    __slots__ = ("_frames", "_kind", "_left_out", "_text")

    def __init__(self, frames: list[tuple[CodeType, int]], left_out: bool, kind: str) -> None:
        self._frames = frames
        self._left_out = left_out
        self._kind = kind
        self._text = ""

    def __call__(self) -> str:
        """Return it as Python would print it."""
        if not self._text:
            lines = ["Traceback (most recent call last):"]
            lines += ["  ..."] if self._left_out else []
            lines += [_line(code, at) for code, at in self._frames if not is_own(code.co_filename)]
            self._text = "\n".join([*lines, self._kind])
        return self._text


def traced(context: Context, error: BaseException, caller: Spot | None = None) -> Context:
    """Return the context with the stack of an error that is being handled.

    ``caller`` is a place of the application's that led here from another thread.
    """
    below = _below(error.__traceback__)
    above, left_out = _above(sys._getframe(1))
    frames = above + below
    if caller is not None and all(code is not caller[0] for code, _ in frames):
        frames.insert(0, caller[:2])
    kind = exception_name(error)
    key = kind, left_out, *((id(code), at) for code, at in frames)
    found = _known.get(key)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[key] = Trace(frames, left_out, kind)
    return with_stack(context, found)


def _below(traceback: TracebackType | None) -> list[tuple[CodeType, int]]:
    """Return what was called from here until the error was raised; of very much, the innermost."""
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code, traceback.tb_lasti))
        traceback = traceback.tb_next
    return frames[-_MOST_BELOW:]


def _above(frame: FrameType | None) -> tuple[list[tuple[CodeType, int]], bool]:
    """Return who called us, the outermost first, and whether there are more above.

    An async engine runs in a greenlet: who awaits it stands in the one that started it.
    """
    frames: list[tuple[CodeType, int]] = []
    greenlet: Any = sys.modules.get("greenlet")
    over = None if greenlet is None else greenlet.getcurrent().parent
    while len(frames) < _MOST_ABOVE:
        if frame is None:
            if over is None:
                break
            frame, over = over.gr_frame, over.parent
            continue
        frames.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return frames[::-1], frame is not None


def _line(code: CodeType, at: int) -> str:
    file = redact(path_of(code.co_filename))
    return f'  File "{file}", line {line_of(code, at)}, in {code.co_qualname}'

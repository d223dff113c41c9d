"""Has a signal arrive at each line of ours that an application's call goes through.

A process of its own: ``python -m tests.harm.interrupting WHAT``. The signal's handler raises, in
turn, what a time limit raises (an `Exception`, as Celery's and RQ's are) and what Ctrl-C does; or,
if WHAT is ``query``, it runs a query itself. Prints JSON: at how many lines, and where the
application did not see what it would see without us, or something was not left as it was.
"""

import json
import linecache
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import create_engine, exc, insert, select, text
from sqlalchemy.pool import QueuePool

from otel_dbevents import Config, Pipeline, sources
from otel_dbevents.sources.finding import watch_of
from tests.harm.scenario import people

OURS = str(Path(sources.__file__).parents[1])
PASSED_BY = (f"{OURS}/sources/text", f"{OURS}/llm")
"""Where there are many lines, and all of them within a guard that others are within too."""


class TimeLimit(Exception):
    """What a time limit raises."""


class Arriving:
    """Sends this process a signal at each line of ours once."""

    def __init__(self) -> None:
        self.done: set[tuple[str, int]] = set()
        self.where = ""
        # Kept: CPython 3.11 makes a frame's object between looking up what traces and calling it,
        # and a finalizer that runs then may be what we end the tracing in.
        self._calls = self._called

    def while_doing(self, act: Callable[[], object]) -> None:
        """Do something; the signal arrives at the first line where it did not yet."""
        self.where = ""
        sys.settrace(self._calls)
        try:
            act()
        finally:
            sys.settrace(None)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        ours = file.startswith(OURS) and not file.startswith(PASSED_BY) and not self.where
        return self._line if ours else None

    def _line(self, frame: FrameType, event: str, _argument: Any) -> Any:
        line = frame.f_code.co_filename, frame.f_lineno
        if event == "line" and not self.where and line not in self.done and not undoes(*line):
            self.done.add(line)
            self.where = f"{Path(line[0]).relative_to(OURS)}:{line[1]} {frame.f_code.co_qualname}"
            sys.settrace(None)
            signal.raise_signal(signal.SIGUSR1)
        return self._line


def undoes(file: str, line: int) -> bool:
    """Whether a line is itself what undoes something, or the beginning of what is undone.

    Python looks for signals after a call, not before each line as we do here.
    """
    source = linecache.getline(file, line).strip()
    return source in ("try:", "if pending:") or source.startswith(("pending.pop", "take_back("))


class Heard(logging.Handler):
    """Counts what SQLAlchemy's pool swallows itself, which it would without us too."""

    number = 0

    def emit(self, _record: logging.LogRecord) -> None:
        self.number += 1


class Application:
    """Does what most do, with an engine of its own."""

    def __init__(self) -> None:
        self.engine = create_engine("sqlite://", poolclass=QueuePool, pool_size=1, max_overflow=0)
        with self.engine.begin() as connection:
            people.create(connection)
        self.saw: list[object] = []

    def __call__(self) -> None:
        with self.engine.begin() as connection:
            connection.execute(insert(people), {"name": "a"})
            self.saw.append(connection.execute(select(people.c.name)).all())
            with suppress(exc.OperationalError):
                connection.execute(text("SELECT nosuch"))
            self.saw.append(connection.execute(text("SELECT 1")).fetchone())
            stream = connection.execution_options(yield_per=1).execute(text("SELECT 2"))
            self.saw.append(stream.all())

    def left(self) -> list[str]:
        """Return what is not as it was before."""
        watch, pool = watch_of(self.engine), self.engine.pool
        found = {
            "the context is another": otel_context.get_current() != otel_context.Context(),
            "somebody waits for the pool": watch is None or len(watch.pending),
            "a connection is out": isinstance(pool, QueuePool) and pool.checkedout(),
        }
        return [what for what, is_so in found.items() if is_so]


def hooked(*_: Any) -> dict[str, Any]:
    return {"app.a": "b"}


def main(what: str) -> None:
    """Go on until a run meets no new line."""
    hooks = {} if what == "query" else {"request_hook": hooked, "response_hook": hooked}
    pipeline = Pipeline(tracer_provider=TracerProvider(), config=Config(), **hooks)
    pipeline.attach()
    other, arriving, heard = create_engine("sqlite://"), Arriving(), Heard()
    for name in ("sqlalchemy.pool", "otel_dbevents"):
        logging.getLogger(name).propagate = False
    logging.getLogger("sqlalchemy.pool").addHandler(heard)
    kinds: tuple[type[BaseException], ...] = (TimeLimit, KeyboardInterrupt)

    def arrived(*_: Any) -> None:
        if what != "query":
            raise kinds[len(arriving.done) % 2]
        with other.connect() as connection:
            assert connection.execute(text("SELECT 'within'")).scalar() == "within"

    signal.signal(signal.SIGUSR1, arrived)
    wrong = []
    unraisable: list[object] = []
    sys.unraisablehook = unraisable.append
    while True:
        application = Application()
        unraisable.clear()
        saw, heard.number = "", 0
        try:
            arriving.while_doing(application)
        except BaseException as error:
            saw = type(error).__name__
        if not arriving.where:
            break
        expected = "" if what == "query" else kinds[len(arriving.done) % 2].__name__
        found = application.left()
        if heard.number:  # SQLAlchemy was giving the connection back: so it is without us
            found = []
        elif saw != expected and not unraisable:
            found.append(f"it saw {saw or 'nothing'}")
        if what == "query" and application.saw != [[("a",)], (1,), [(2,)]]:
            found.append(f"it read {application.saw}")
        if found:
            wrong.append(f"{arriving.where}: {', '.join(found)}")
        application.engine.dispose()
    told = pipeline.flush(30)
    said = {"lines": len(arriving.done), "wrong": wrong, "lost": dict(pipeline.lost())}
    print(json.dumps(said | {"told": told}))


if __name__ == "__main__":
    main(sys.argv[1])

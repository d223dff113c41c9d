"""Slow queries explained: where the user asked for it, the database tells how it would run them.

The application's thread leaves a question in a short queue and goes on; a worker of our own asks,
on a session of its own, and publishes `QueryExplained`. The worker is there only while there are
questions. How often is bounded twice: each statement once in ten minutes, and so many a minute.
"""

import logging
import threading
from collections import deque
from contextlib import suppress
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple, TypeAlias

from opentelemetry import context as otel_context
from sqlalchemy.engine import Engine

from otel_dbevents.events import QueryExecuted, QueryExplained
from otel_dbevents.forks import in_child
from otel_dbevents.sources.around import silenced
from otel_dbevents.sources.explain.asking import CONNECTING_S, ask
from otel_dbevents.sources.explain.question import Question
from otel_dbevents.sources.explain.refusing import is_reading_select, refusal
from otel_dbevents.sources.failure import describe
from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.watch import Watch
from otel_dbevents.swallowing import told
from otel_dbevents.threads import begin, new_thread

_AGAIN_S: Final = 600.0
"""After this time a statement may be explained again."""
_WAITING: Final = 20
_REMEMBERED: Final = 1_000
_LOG_S: Final = 60.0
_log = logging.getLogger("otel_dbevents.sources")


_Key: TypeAlias = tuple[str, str, str]
"""Pool, database and the statement's text."""


class _Task(NamedTuple):
    watch: Watch
    event: QueryExecuted
    question: Question
    context: Any


class Explainer:
    """Asks for the plans of slow queries. On the application's thread there is only `offer`.

    Args:
        timeout_ms: how long the database may take for one plan, in milliseconds.
        per_minute: how many plans are asked for in any minute.

    What could not be explained is counted by reason: ``explain_failed`` (the database refused, or
    did not answer in time), ``explain_refused`` (it is not safe to ask), ``explain_queue_full``,
    ``explain_closed``. What is over the bounds is not asked for and not counted.

    """

    _under_way: int
    """One while a question is being asked."""

    def __init__(self, *, timeout_ms: float = 1_000, per_minute: int = 10) -> None:
        self._timeout_ms = timeout_ms
        self._closed = False
        self._per_minute = per_minute
        self._begin_anew()
        in_child(self._begin_anew)

    def offer(
        self, watch: Watch, event: QueryExecuted, question: Question | None, context: Any
    ) -> None:
        """Take a slow query that went well, after its event was published.

        ``context`` is the OpenTelemetry context that the event was published with. Never blocks.
        """
        if self._left:
            self._take_left()
        if question is None or not is_reading_select(event.statement):
            return
        database, now = event.database, monotonic()
        key = (database.pool_name, database.namespace, event.statement.query_text)
        with self._changed:
            if self._closed or not self._is_due(key, now):
                return
            if len(self._tasks) >= _WAITING:
                self._lose("explain_queue_full", "too many wait")
                return
            self._note(key, now)
            self._tasks.append(_Task(watch, event, question, context))
            if self._worker is None:
                self._start()

    def leave(self, watch: Watch, event: QueryExecuted, question: Question, context: Any) -> None:
        """Take one in a finalizer, which waits for nobody: the next `offer` or `settle` does."""
        self._left.append(_Task(watch, event, question, context))

    def _take_left(self) -> None:
        with suppress(IndexError):
            while True:
                self.offer(*self._left.popleft())

    def settle(self, timeout: float) -> bool:
        """Wait until all that was taken is told or lost; False after ``timeout`` seconds.

        A session that hangs is not waited for again and again: False at once when one is overdue.
        """
        self._take_left()
        with self._changed:
            if self._worker is threading.current_thread():
                return True
            if self._under_way and monotonic() > self._overdue:
                return False
            return self._changed.wait_for(lambda: self._worker is None, max(0.0, timeout))

    def close(self) -> None:
        """Take nothing more; what waits or is under way is lost, and counted. Waits for nothing."""
        with self._changed:
            self._closed = True
            for _ in range(len(self._tasks) + self._under_way):
                self._lose("explain_closed", "the pipeline was closed")
            self._tasks.clear()
            self._under_way = 0

    @property
    def lost(self) -> dict[str, int]:
        """How many queries were not explained, by reason."""
        with self._changed:
            return dict(self._lost)

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child, which has no worker."""
        self._changed = threading.Condition()
        self._tasks: deque[_Task] = deque()
        self._left: deque[_Task] = deque(maxlen=_WAITING)
        self._under_way = 0
        self._overdue = 0.0
        self._worker: threading.Thread | None = None
        self._asked: dict[_Key, float] = {}
        self._recent: deque[float] = deque(maxlen=self._per_minute)
        self._lost: dict[str, int] = {}
        self._silent_until = 0.0

    def _is_due(self, key: _Key, now: float) -> bool:
        """Whether neither this statement nor all of them were asked for too often."""
        if now < self._asked.get(key, 0.0):
            return False
        return len(self._recent) < self._per_minute or now - self._recent[0] >= 60

    def _note(self, key: _Key, now: float) -> None:
        self._asked.pop(key, None)
        if len(self._asked) >= _REMEMBERED:
            self._asked.pop(next(iter(self._asked)))
        self._asked[key] = now + _AGAIN_S
        self._recent.append(now)

    def _start(self) -> None:
        worker = new_thread("otel-dbevents-explain", self._work)
        try:
            self._worker = worker
            begin(worker)
        except BaseException as error:  # the process ends, no memory, too many threads
            self._worker = None
            self._tasks.clear()
            if not isinstance(error, Exception):
                raise
            told("explainer", error)
            self._lose("explain_failed", "no thread could be started")

    def _work(self) -> None:
        try:
            otel_context.attach(silenced(otel_context.Context()))
            while (task := self._next()) is not None:
                self._answer(task)
        finally:
            with self._changed:
                if self._worker is threading.current_thread():
                    self._worker, self._under_way = None, 0
                self._changed.notify_all()

    def _next(self) -> _Task | None:
        """Take the next question; with none left the worker is gone for whoever asks then."""
        with self._changed:
            if self._tasks:
                self._under_way = 1
                self._overdue = monotonic() + self._timeout_ms / 1000 + CONNECTING_S
                return self._tasks.popleft()
            self._worker = None
            return None

    def _answer(self, task: _Task) -> None:
        lost, why, explained = "", "", None
        try:
            engine = task.watch.engine()
            if engine is None:
                lost, why = "explain_closed", "the engine is gone"
            elif why := refusal(engine, task.event.database, task.question.sql):
                lost = "explain_refused"
            else:
                explained = self._explained(engine, task)
        except Exception as error:  # noqa: BLE001 - counted; its message may hold values
            told("explainer", error)
            lost, why = "explain_failed", describe(error).description
        with self._changed:
            self._under_way = 0
            if self._closed:
                return
            if lost:
                self._lose(lost, why)
        if explained is not None:
            try:
                task.watch.publish(explained, task.context)
            except Exception as error:  # noqa: BLE001 - the worker goes on
                guard.caught(error)

    def _explained(self, engine: Engine, task: _Task) -> QueryExplained:
        event, start = task.event, time_ns()
        plan = ask(engine, task.question, self._timeout_ms)
        end = time_ns()
        return QueryExplained(
            event.database,
            event.parent,
            end,
            max(0, end - start),
            event.statement,
            event.id,
            plan,
            llm=event.llm,
        )

    def _lose(self, reason: str, why: str) -> None:
        """Count, and say so once a minute, in words without values."""
        with self._changed:
            so_far = self._lost[reason] = self._lost.get(reason, 0) + 1
            now = monotonic()
            if now < self._silent_until:
                return
            self._silent_until = now + _LOG_S
        _log.warning("A slow query was not explained: %s (%s: %d so far)", why, reason, so_far)

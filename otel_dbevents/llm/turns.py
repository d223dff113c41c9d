"""Turns: the LLM work that goes on in this process, and what the database did in it.

The exact numbers are written in a span's own ``end``: when the SDK tells its processors that a span
is ending, nobody can write on it any more.
"""

import logging
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from time import time_ns
from typing import Any, Final, TypeAlias

from opentelemetry import baggage, trace
from opentelemetry.context import Context, get_current
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import propagation

from otel_dbevents.forks import in_child
from otel_dbevents.llm import keys
from otel_dbevents.llm.ending import Ending
from otel_dbevents.llm.ledger import ELSEWHERE, Elsewhere, Ledger
from otel_dbevents.llm.nodes import NOTHING, Held, Node, Tree
from otel_dbevents.llm.processor import Watching
from otel_dbevents.llm.registry import Registry
from otel_dbevents.llm.rollup import RollUp
from otel_dbevents.llm.writing import write
from otel_dbevents.swallowing import Swallowing

TurnEnded: TypeAlias = Callable[[bytes, RollUp], object]
"""Takes the trace's id (16 bytes) and what was done in the turn, on the thread that ended it."""
TurnMeasured: TypeAlias = Callable[[int, RollUp, Context], object]
"""Takes how long a turn lasted (ns), what was done in it, and a context with its span."""

FindLedger: TypeAlias = Callable[[Context], Ledger | Elsewhere | None]
"""Returns where to enter what happens in a context; None outside LLM work. Never raises."""
Tell: TypeAlias = Callable[[], None]
LookAnew: TypeAlias = Any
"""A bound method without arguments."""
_numbers: Final = count()
_MOST: Final = 10_000
_REPEATED: Final = 10
_SPAN: Final[Any] = getattr(propagation, "_SPAN_KEY", None)
_BAGGAGE: Final[Any] = getattr(baggage, "_BAGGAGE_KEY", None)
"""Where a context keeps the current span, and the baggage."""
_NEVER_LLM: Final = frozenset({type(None), trace.NonRecordingSpan} if _SPAN and _BAGGAGE else ())
"""What says nothing of itself but its ids, where the two keys are known."""
_log = logging.getLogger("otel_dbevents.llm")


class Turns:
    """Knows the open spans of LLM work, and writes on them what the database did below.

    Several pipelines share one, as two would write over each other. It does nothing while nobody
    has joined. Nothing raises that is called by the application.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._key = f"_otel_dbevents_llm_{next(_numbers)}"
        self._users: dict[int, weakref.WeakMethod[Any]] = {}
        self._turn_listeners: tuple[TurnEnded, ...] = ()
        self._measurers: tuple[TurnMeasured, ...] = ()
        self._guard = Swallowing("llm", _log)
        self._watching = Watching(self._started, self._ended, self._guard)
        self.repeated = _REPEATED
        self._begin_anew()
        in_child(self._begin_anew)

    def _begin_anew(self) -> None:
        """Begin at nothing, also in a forked child: what was done before is the parent's."""
        follow, self._watching.known = self._watching.follow, {}
        self._open = Registry(
            self._watching.known, self._key, self._most, self, follow, self._hosted
        )
        self._dirty: deque[Tree] = deque()

    def __len__(self) -> int:
        """How many open spans are known."""
        return len(self._open)

    @property
    def forgotten(self) -> int:
        """How many open spans were forgotten, as there were too many that never ended."""
        return self._open.forgotten

    def join(self, look_anew: LookAnew, provider: Any, repeated: int = _REPEATED) -> None:
        """Follow a tracer provider's spans for who asks for ledgers. Twice is harmless.

        ``look_anew``: a method that forgets for which contexts none was found. It is called when
        LLM work begins right below a span of the application. Its object is not kept alive.
        ``repeated``: from so many runs under one span on a statement is a repeated one; 0: never.
        Of several users the latest one's holds.
        """
        self.repeated = repeated
        try:
            self._users[id(look_anew.__self__)] = weakref.WeakMethod(look_anew)
            self._watching.begin()
            self.follow(provider)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            self._guard.caught(error, "LLM spans are not seen")

    def leave(self, look_anew: LookAnew) -> None:
        """Do nothing more, once the last user has left or is gone. Twice is harmless."""
        self._users.pop(id(look_anew.__self__), None)
        if not any(user() for user in list(self._users.values())):
            self._users.clear()
            self._watching.end()
            self._open.clear()

    def follow(self, provider: Any) -> None:
        """See the spans of a tracer provider of the SDK's. Twice is harmless.

        The API's proxy stands for the global one: that is followed once it is set.
        """
        if isinstance(provider, trace.ProxyTracerProvider):
            self._watching.awaits_provider = True
            self._look_for_provider()
        else:
            self._watching.follow(provider)

    def on_turn_end(self, callback: TurnEnded) -> Callable[[], None]:
        """Have ``callback`` called when the outermost LLM span of a turn has ended.

        And once more at the end of the application's span that the turn was begun right below of,
        with the generations that have caused more until then. Not for traces that are not sampled.

        On the thread that ended it: it must be quick. What it raises is counted and logged. Call
        what is returned to have it called no more.
        """
        self._turn_listeners = (*self._turn_listeners, callback)

        def cancel() -> None:
            there = self._turn_listeners
            self._turn_listeners = tuple(each for each in there if each is not callback)

        return cancel

    def on_turn_measured(self, callback: TurnMeasured) -> Callable[[], None]:
        """Have ``callback`` called when the outermost LLM span of a turn ends, sampled or not.

        Also of turns without any database work. On the thread that ends it, as in `on_turn_end`.
        """
        self._measurers = (*self._measurers, callback)

        def cancel() -> None:
            there = self._measurers
            self._measurers = tuple(each for each in there if each is not callback)

        return cancel

    def ledgers(self, *, prompt: bool = False) -> FindLedger:
        """Return what finds where to enter what happens in a context; see `ledger`."""
        watching, find = self._watching, partial(self.ledger, prompt=prompt)

        def ledger(context: Context) -> Ledger | Elsewhere | None:
            # It is asked about every span that queries or connections are under: most are of no
            # LLM work, and what keeps no node itself can only be known by its id.
            span: Any = context.get(_SPAN)
            if type(span) in _NEVER_LLM and context.get(_BAGGAGE) is None:
                known = watching.known
                if not known or span is None or span.get_span_context().span_id not in known:
                    return None
            return find(context)

        return ledger

    def ledger(self, context: Context, *, prompt: bool = False) -> Ledger | Elsewhere | None:
        """Return where to enter what happens in this context; None outside LLM work.

        ``prompt``: events shall say the generation's prompt and session too.
        """
        try:
            span: Any = trace.get_current_span(context)
            node = self._open.find(span)
            if node is not None:
                return Ledger(node, self._dirty.append, prompt=prompt)
            if _BAGGAGE is not None and _BAGGAGE not in context:
                return None
            said = baggage.get_baggage(keys.LANGFUSE_BAGGAGE, context)
            if said is None:
                return None
            trace_id = span.get_span_context().trace_id
            return ELSEWHERE if said == trace.format_trace_id(trace_id) else None
        except Exception as error:  # noqa: BLE001 - the application must not see it
            self._guard.caught(error, "it is not known whether a query belongs to LLM work")
            return None

    def roll_up(self, context: Context) -> RollUp | None:
        """Return what was done so far below the nearest open LLM span; None without one."""
        try:
            node = self._open.find(trace.get_current_span(context))
            while node is not None and (node.is_over or not node.is_llm):
                node = node.above
            if node is None:
                return None
            with Held(node.tree.lock):
                node.tree.drain()
                return node.roll_up(self.repeated)
        except Exception as error:  # noqa: BLE001 - the application must not see it
            self._guard.caught(error, "it is not known what was done in LLM work so far")
            return None

    def settle(self) -> None:
        """Add up what was entered, and write it on the LLM spans that are open. On a worker."""
        if self._watching.awaits_provider:
            self._look_for_provider()
        while self._dirty:
            try:
                tree = self._dirty.popleft()
                tree.is_dirty = False  # before draining, so that nothing is entered unseen
                self._write(tree)
            except Exception as error:  # noqa: BLE001 - the next tree must not suffer
                self._guard.caught(error, "a roll-up was not written, until its span ends")

    def _look_for_provider(self) -> None:
        provider = trace.get_tracer_provider()
        if not isinstance(provider, trace.ProxyTracerProvider):
            self._watching.awaits_provider = False
            self._watching.follow(provider)

    def _write(self, tree: Tree) -> None:
        with Held(tree.lock):
            tree.drain()
            touched, tree.touched = tree.touched, {}
            found = [(node, node.roll_up(self.repeated)) for node in touched if node.is_llm]
        for node, roll_up in found:
            span = node.span()
            with Held(tree.writing):
                if span is not None and not node.is_over and span.is_recording():
                    write(span, roll_up, time_ns())

    def _started(self, span: Any, parent_context: Context | None) -> None:
        context = get_current() if parent_context is None else parent_context
        self._open.started(span, trace.get_current_span(context))

    def ending(self, span: Any, given: Any) -> Tell | None:
        """Write the exact numbers on a span that is about to end. Never raises.

        ``given``: the end that it is given; None: now. Returns what tells of the turn, where it is
        the turn's outermost span or the one that it was begun in.
        """
        try:
            return self._end(span, given if isinstance(given, int) else time_ns())
        except Exception as error:  # noqa: BLE001 - it is within the application's call
            self._guard.caught(error, "a roll-up may be missing on a span that has ended")
            return None

    def ended(self, ending: Ending, tell: Tell | None) -> None:
        """Take our hands off a span that has ended, and tell of the turn's end. Never raises."""
        try:
            ending.take_off()
            if tell is not None:
                tell()
        except Exception as error:  # noqa: BLE001 - it is within the application's call
            self._guard.caught(error, "the end of a turn was not told")

    def _end(self, span: Any, end_ns: int) -> Tell | None:
        node = self._open.of(span)
        if node is None or node.is_over:
            return None
        try:
            is_llm = node.is_llm
            found = self._close(node)
            if is_llm and found is not NOTHING and span.is_recording():
                with Held(node.tree.writing):
                    write(span, found, end_ns)
            above = node.above
            is_turn = is_llm and not (above and any(each.is_llm for each in above.path()))
            if is_turn and self._measurers:
                self._measure(span, found, end_ns)
            if not (self._turn_listeners and (is_turn or above is None)):
                return None
            if span.get_span_context().trace_flags.sampled:
                return partial(self._turn_ended, node, found, is_turn)
            return None
        finally:
            if not node.is_over:  # its numbers are lost, what it caused is not
                node.over()
            self._open.close(node.span_id)

    def _close(self, node: Node) -> RollUp:
        """Let nothing more be added to a node, and return what was."""
        tree = node.tree
        with Held(tree.lock):
            tree.drain()
            found = node.roll_up(self.repeated)
            node.over()
            tree.touched.pop(node, None)
        return found

    def _measure(self, span: Any, found: RollUp, end_ns: int) -> None:
        lasted = max(0, end_ns - (getattr(span, "start_time", None) or end_ns))
        context = trace.set_span_in_context(span, Context())
        for callback in self._measurers:
            self._call(callback, lasted, found, context)

    def _ended(self, span: ReadableSpan) -> None:
        """Take note of an end that was not seen before it was over: nothing can be written."""
        context = span.context
        node = None if context is None else self._open.close(context.span_id)
        if node is not None and not node.is_over:
            node.over()

    def _turn_ended(self, node: Node, found: RollUp, is_turn: bool) -> None:
        """Tell of a turn; of the span that it was begun in only what was caused after the turn."""
        turn = node.tree.newly_caused(found)
        for callback in self._turn_listeners if is_turn or turn.by_generation else ():
            self._call(callback, node.trace_id.to_bytes(16), turn)

    def _hosted(self) -> None:
        for user in list(self._users.values()):
            look_anew = user()
            if look_anew is not None:
                self._call(look_anew)

    def _call(self, callback: Callable[..., object], *about: Any) -> None:
        try:
            callback(*about)
        except Exception as error:  # noqa: BLE001 - it is within a call of the application's
            self._guard.caught(error, "what was to be done in LLM work failed")

"""How handlers are called: one event at a time, on an event loop, or within ``publish``."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import wait
from contextlib import suppress
from typing import Any, Final, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_dbevents.bus import Consumer, Delivery, Idle, InlineHandler, Wanted
from otel_dbevents.bus.losses import Losses
from otel_dbevents.events import Event
from otel_dbevents.swallowing import told

_SUPPRESS: Final = (
    getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
    "suppress_instrumentation",
)
_LOOK_SECONDS = 1.0
_abandoned: Final[list[object]] = []
"""Event loops of a parent process: to close one in the child would deafen the parent's."""

Deliver: TypeAlias = Callable[[Sequence[Delivery]], object]


def suppressed(context: Context) -> Context:
    """Return a context in which nothing is instrumented: handlers are not the application."""
    for key in _SUPPRESS:
        context = otel_context.set_value(key, True, context)
    return context


def name_of(handler: object) -> str:
    """Return what a handler is called in logs."""
    return str(getattr(handler, "__qualname__", type(handler).__name__))


def is_async(handler: Any) -> bool:
    """Whether the handler is a coroutine function, or an object whose ``__call__`` is one."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
        getattr(handler, "__call__", None)  # noqa: B004 - it is not asked whether it is callable
    )


def one_by_one(handler: Callable[[Any], object], losses: Losses) -> Deliver:
    """Bring a batch to a handler of single events: one that fails costs itself only."""

    def deliver(batch: Sequence[Delivery]) -> None:
        for event, _ in batch:
            try:
                handler(event)
            except BaseException as error:  # noqa: BLE001 - nothing may end the worker
                losses.add("handler_error", 1, error)

    return deliver


def at_once(consumer: Consumer, idle: Idle | None) -> InlineHandler:
    """Bring each event to a consumer by itself, and tell it that for now there is no more."""

    def deliver(event: Event, context: Any) -> None:
        consumer([(event, context)])
        if idle is not None:
            idle()

    return deliver


def not_awaiting(handler: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Call a plain handler, and refuse an awaitable that nobody would await."""

    def call(event: Any) -> None:
        result = handler(event)
        if result is not None and inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise TypeError(f"{name_of(handler)} returned an awaitable: make it an `async def`")

    return call


class Loop:
    """Where a coroutine handler is awaited: the loop that runs now, or else one of its own."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._running: asyncio.AbstractEventLoop | None = None
        with suppress(RuntimeError):  # none runs here
            self._running = asyncio.get_running_loop()

    def run(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """Await a coroutine from the worker's thread, and return when it is done."""
        if self._running is not None:
            return self._run_there(coroutine, self._running)
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(coroutine)

    def close(self) -> None:
        """Close the loop of its own; another is made when one is needed again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            try:
                runner.close()
            except Exception as error:  # noqa: BLE001 - a handler's task does not let itself end
                told("a handler's event loop", error)

    def renew(self) -> None:
        """Begin anew in a forked child, where no loop of the parent runs."""
        _abandoned.append((self._runner, self._running))
        self._runner = self._running = None

    @staticmethod
    def _run_there(
        coroutine: Coroutine[Any, Any, object], loop: asyncio.AbstractEventLoop
    ) -> object:
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
            while not wait([future], _LOOK_SECONDS).done:
                if loop.is_closed():
                    raise RuntimeError("the event loop was closed before the handler was done")
        except RuntimeError:  # that loop is closed
            coroutine.close()
            raise
        return future.result()


class Direct:
    """A subscription that is called within ``publish``, on the caller's thread."""

    def __init__(
        self,
        leave: "Callable[[Direct], None]",
        types: tuple[type[Event], ...],
        handler: InlineHandler,
        losses: Losses,
        wanted: Wanted | None = None,
    ) -> None:
        self._leave = leave
        self.types = types
        self.losses = losses
        self._handler = handler
        self._suppressing = wanted is None
        self.wanted = wanted

    @property
    def lost(self) -> dict[str, int]:
        """How many events failed in the handler."""
        return self.losses.counts()

    def cancel(self) -> None:
        """End the subscription. May be called twice."""
        self._leave(self)

    def call(self, event: Event, context: Any) -> None:
        """Call the handler, and let nothing pass that it raises."""
        token = None
        try:
            if self._suppressing:
                token = otel_context.attach(suppressed(otel_context.get_current()))
            self._handler(event, context)
        except Exception as error:  # noqa: BLE001 - it runs within the application's call
            self.losses.add("handler_error", 1, error)
        finally:
            if token is not None:
                otel_context.detach(token)

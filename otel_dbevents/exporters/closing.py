"""The end of the providers: each is shut down aside, and nobody is waited for beyond the deadline.

In: providers of the SDK's. Out: threads that are there from the start, to begin, to wait for, and
to leave behind.
"""

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from otel_dbevents.exporters.answers import endure_closing
from otel_dbevents.exporters.greenlets import look_up_here
from otel_dbevents.exporters.processors import CountingLogRecordProcessor, CountingSpanProcessor
from otel_dbevents.exporters.reconnecting import reconnect
from otel_dbevents.exporters.stages import at, exporters_of, stages_of
from otel_dbevents.forks import hold, in_child
from otel_dbevents.swallowing import came_through, told
from otel_dbevents.threads import new_thread

_log: Final = logging.getLogger("otel_dbevents.exporters")


class Aside:
    """Work that the end of the process waits for, but not for ever: on a thread of its own.

    The thread is there from the start, as Python 3.12 starts none when the process ends.
    """

    def __init__(self, name: str) -> None:
        self._name = f"otel-dbevents-{name}"
        self._start()
        in_child(self._begin_anew)

    def begin(self) -> "Aside":
        """Have the work done; does not wait."""
        self._wanted.set()
        return self

    def wait(self, timeout: float) -> bool:
        """Wait for the end of it. False when the time is up."""
        return self._done.wait(max(timeout, 0.0))

    def work(self) -> None:
        """Do it."""
        raise NotImplementedError

    def _begin_anew(self) -> None:
        """Have a thread in a forked child, too."""
        self._start()

    def _start(self) -> None:
        self._wanted, self._done = threading.Event(), threading.Event()
        new_thread(self._name, self._run).start()

    def _run(self) -> None:
        wanted, done = self._wanted, self._done
        wanted.wait()
        try:
            look_up_here()
            self.work()
        except Exception as error:  # noqa: BLE001 - the process ends; nobody is left to handle it
            told("provider", error)
            _log.debug("a provider failed to shut down: %s", came_through(error))
        finally:
            done.set()


class Closer(Aside):
    """Shuts one provider down."""

    def __init__(self, kind: str, provider: Any) -> None:
        self.kind = kind
        self._provider = provider
        for exporter in exporters_of(provider):
            endure_closing(exporter)
        super().__init__(f"close-{kind}")
        hold(self._export_locks)

    def work(self) -> None:
        """Shut it down."""
        self._provider.shutdown()

    def give_up(self) -> None:
        """Have what was not sent counted as lost. Does not wait."""
        for stage in stages_of(self._provider):
            if isinstance(stage, (CountingSpanProcessor, CountingLogRecordProcessor)):
                stage.give_up()

    def abort(self) -> None:
        """Have the exporters give up what they are trying."""
        if self._done.is_set():
            return
        for exporter in exporters_of(self._provider):
            try:
                exporter.shutdown()
            except Exception as error:  # noqa: BLE001 - a stranger's exporter, and the process ends
                told("exporter", error)
                _log.debug("an exporter failed to shut down: %s", came_through(error))

    def _export_locks(self) -> list[Any]:
        """Return what is held while there is an export, which gRPC does not let a child survive."""
        locks = [
            at(stage, *path, "_export_lock")
            for stage in stages_of(self._provider)
            for path in (("_batch_processor",), ("_outbox",), ())
        ]
        return [lock for lock in locks if lock is not None]

    def _begin_anew(self) -> None:
        for exporter in exporters_of(self._provider):
            reconnect(exporter)
        super()._begin_anew()


class Aborter(Aside):
    """Aborts the exporters: aside, because a stranger's may block in its shutdown too."""

    def __init__(self, closers: Iterable[Closer]) -> None:
        self._closers = closers
        super().__init__("abort")

    def work(self) -> None:
        """Abort those that are not done."""
        for closer in self._closers:
            closer.abort()


def wait_for(those: Iterable[Aside], until: float) -> bool:
    """Wait for all of them. False when it is later than ``until``."""
    return not [each for each in those if not each.wait(until - time.monotonic())]

"""Scores: what the database work that a generation caused took, as numbers that Langfuse can chart.

In: the roll-up of a turn, when its outermost LLM span has ended. Out: for each generation that
caused any work two scores, `TIME` and `COUNT`, by the application's own Langfuse client and its
queue. A generation that caused none has no score, as each is a unit that is billed.

On the application's thread a turn is only put down; a worker of ours calls the client.
"""

import atexit
import logging
import time
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import isfinite
from threading import RLock
from typing import Final, Protocol, TypeAlias

from otel_dbevents.bus.errands import Errands
from otel_dbevents.ending import ending
from otel_dbevents.forks import in_child
from otel_dbevents.langfuse.clients import Clients
from otel_dbevents.swallowing import Swallowing

TIME: Final = "db_time_ms"
"""Milliseconds of all database time that the generation caused."""
COUNT: Final = "db_query_count"
"""How many queries it caused."""

_WAITING: Final = 1_000
_LOOK_S: Final = 0.02
_NS_PER_MS: Final = 1_000_000
_log = logging.getLogger("otel_dbevents.langfuse")


class Caused(Protocol):
    """What one generation caused in a turn."""

    @property
    def query_count(self) -> int:
        """How many queries."""
        ...

    @property
    def time_ns(self) -> int:
        """How long the database worked for it, in nanoseconds."""
        ...

    @property
    def public_key(self) -> str | None:
        """Whose the generation is: the public key of its Langfuse client, where one made it."""
        ...


class Turn(Protocol):
    """The part of a turn's roll-up that is read here."""

    @property
    def by_generation(self) -> Mapping[bytes, Caused]:
        """What each generation caused, by the id of its span."""
        ...


class Taker(Protocol):
    """A Langfuse client, as far as scores go."""

    @property
    def create_score(self) -> Callable[..., object]:
        """Put a score into its queue."""
        ...

    def takes_scores(self) -> bool:
        """Whether anybody takes what is put into its queue."""
        ...

    def has_room(self) -> bool:
        """Whether its queue shall be given more now."""
        ...


FindClient: TypeAlias = Callable[[str | None], Taker | None]
"""Returns the client of a public key, or None."""


class Scores:
    """Has what each turn's generations caused charted in Langfuse.

    What got no score is counted by reason: ``score_no_client`` (there is no client that takes it),
    ``score_error`` (the client raised), ``score_queue_full`` (turns that gave way to later ones).

    Args:
        find_client: where clients come from; else the application's own.
        at_exit: for how many seconds the end of the process waits for them at the most.

    """

    def __init__(self, find_client: FindClient | None = None, *, at_exit: float = 2.0) -> None:
        self._find_client = find_client or Clients().get
        self._closed = False
        self._known: set[str | None] = set()
        self._at_exit = partial(_settle_at_exit, weakref.ref(self), at_exit)
        self._swallowing = Swallowing("langfuse: scores", _log)
        self._errands: Errands[tuple[bytes, Turn]] = Errands(
            self._send, name="langfuse-scores", capacity=_WAITING
        )
        self._begin_anew()
        in_child(self._begin_anew)

    def take(self, trace_id: bytes, turn: Turn) -> None:
        """Take a turn that has ended. Never raises, never waits."""
        if not turn.by_generation:
            return
        self._errands.put((trace_id, turn))
        keys = {caused.public_key for caused in turn.by_generation.values()}
        if not keys <= self._known:
            self._known |= keys
            self._go_before_the_clients()

    def _go_before_the_clients(self) -> None:
        """Have the end of the process come to us before it comes to clients that there are now.

        It calls last what was registered first, and a client that was shut down takes no score.
        """
        atexit.unregister(self._at_exit)
        atexit.register(self._at_exit)

    def settle(self, timeout: float) -> bool:
        """Give all scores so far to their clients, which send them on; False if time ran out."""
        return self._errands.settle(timeout)

    def close(self) -> None:
        """Take no turn any more. Those before are still scored."""
        atexit.unregister(self._at_exit)
        self._closed = True
        self._errands.close()

    def settle_at_exit(self, timeout: float) -> None:
        """Give what is left to the clients. Only waiting for it starts the end's one clock."""
        if self._errands.waiting:
            self.settle(ending.time_left(timeout))

    @property
    def lost(self) -> Mapping[str, int]:
        """How many generations got no score, and how many turns gave way, by reason."""
        with self._lock:
            lost = dict(self._lost)
        dropped = self._errands.lost.get("queue_full", 0)
        return lost | {"score_queue_full": dropped} if dropped else lost

    def _begin_anew(self) -> None:
        self._lock = RLock()
        self._lost: Counter[str] = Counter()
        self._said = False

    def _send(self, turns: Sequence[tuple[bytes, Turn]]) -> None:
        for trace_id, turn in turns:
            for generation_id, caused in turn.by_generation.items():
                try:
                    self._score(trace_id.hex(), generation_id.hex(), caused)
                except Exception as error:  # noqa: BLE001 - the client's; the next is scored
                    self._lose("score_error")
                    self._swallowing.caught(error, "Langfuse's client took no score")

    def _score(self, trace: str, generation: str, caused: Caused) -> None:
        numbers = {TIME: round(caused.time_ns / _NS_PER_MS, 3), COUNT: float(caused.query_count)}
        if not caused.query_count and not caused.time_ns:
            return
        client = self._find_client(caused.public_key)
        for name, value in numbers.items():
            if not isfinite(value):
                continue
            if client is None or not self._has_room(client):
                self._lose("score_no_client")
                self._say_that_none_is_there()
                return
            client.create_score(
                name=name,
                value=value,
                trace_id=trace,
                observation_id=generation,
                # Always the same for the same number: sent again it is an update.
                score_id=f"{trace}-{generation}-{name}",
                data_type="NUMERIC",
            )

    def _has_room(self, client: Taker) -> bool:
        """Wait until the client has room for more; False where it takes none, or we are closed.

        So what a Langfuse that does not answer holds up waits with us, and gives way here.
        """
        while client.takes_scores():
            if client.has_room():
                return True
            if self._closed:
                return False
            time.sleep(_LOOK_S)  # gevent's, where it has taken the threads over since
        return False

    def _lose(self, reason: str) -> None:
        with self._lock:
            self._lost[reason] += 1

    def _say_that_none_is_there(self) -> None:
        """Say once in this process why there are no scores."""
        if self._said:
            return
        self._said = True
        _log.warning(
            "a generation got no scores: no Langfuse client in this process takes them: there is "
            "none, it was shut down, or there are several and it is none of theirs (said once)"
        )


def _settle_at_exit(reference: "weakref.ref[Scores]", timeout: float) -> None:
    scores = reference()
    if scores is not None:
        scores.settle_at_exit(timeout)

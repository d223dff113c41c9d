"""The Langfuse clients that the application has made; none is ever made here.

There is one client per public key and process. Made by us it would be what the application gets
when it asks for its own, with our settings in the place of its; and it would send all LLM spans of
the global provider. So where there is none, there is none.

What is asked of a client beside its public methods is asked so that another version of it, which
has it no more, is taken as it was before one knew to ask.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

_NOWHERE: Final = "langfuse._client.resource_manager"
_QUEUES: Final = ("_score_queue", "_score_ingestion_queue")
_BATCH: Final = 15
"""What it sends at once, unless it was told to send less."""
_CONSUMERS: Final = ("_score_consumers", "_ingestion_consumers")


class Client:
    """One client of the application's, and what is known of its queue of scores."""

    def __init__(self, manager: Any, create_score: Callable[..., object]) -> None:
        self.manager = manager
        self.create_score = create_score
        """Langfuse's own: it only puts the score into a queue."""

    def takes_scores(self) -> bool:
        """Whether anybody takes what is put into its queue.

        Nobody does after its shutdown, and in a forked child when it does not start its threads
        anew there. What is put in then would be waited for by its ``flush`` for ever, which it
        calls itself when the process ends.
        """
        if getattr(self.manager, "_shutdown", False):
            return False
        threads: Iterable[Any] | None = _first(self.manager, _CONSUMERS)
        return threads is None or any(thread.is_alive() for thread in threads)

    def has_room(self) -> bool:
        """Whether fewer than one batch wait to be sent or are being sent, whosever they are.

        When the process ends the client waits for its queue without a limit, and for one that does
        not answer it takes three tries of five seconds for each batch. So there is only one.
        """
        queue = _first(self.manager, _QUEUES)
        waiting: int = getattr(queue, "unfinished_tasks", 0)
        return waiting < min([_BATCH, *self._batches()])

    def _batches(self) -> list[int]:
        threads: Iterable[Any] = _first(self.manager, _CONSUMERS) or ()
        sizes = (getattr(thread, "_flush_at", None) for thread in threads)
        return [max(1, size) for size in sizes if isinstance(size, int)]


class Clients:
    """Finds the client of a public key."""

    def __init__(self) -> None:
        self._found: dict[str, Client] = {}

    def get(self, public_key: str | None) -> Client | None:
        """Return the client of ``public_key``; without a key the only one that there is.

        None where there is no such client, or several and no key says which.
        """
        managers = _managers()
        if public_key is None and len(managers) == 1:
            public_key = next(iter(managers))
        manager = managers.get(public_key or "")
        if public_key is None or manager is None:
            return None
        found = self._found.get(public_key)
        if found is None or found.manager is not manager:
            from langfuse import get_client

            made = get_client(public_key=public_key)
            found = self._found[public_key] = Client(manager, made.create_score)
        return found


def _managers() -> Mapping[str, Any]:
    """Return what Langfuse keeps for each public key; empty where no client was ever made.

    Looked at beforehand, as ``get_client`` makes a client for a key that it does not know.
    """
    kind = getattr(sys.modules.get(_NOWHERE), "LangfuseResourceManager", None)
    managers = getattr(kind, "_instances", None)
    return dict(managers) if isinstance(managers, Mapping) else {}


def _first(thing: Any, names: Iterable[str]) -> Any:
    """Return the attribute that there is; None where there is none of them."""
    there = (getattr(thing, name, None) for name in names)
    return next((found for found in there if found is not None), None)

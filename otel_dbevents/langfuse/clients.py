"""The Langfuse clients that the application has made. None is ever made for a project of its own.

A client belongs to one public key and is one per process: made by us it would be the one that the
application gets when it asks for its own, with our settings, and it would send all LLM spans of the
global provider. So where there is none, there is none.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any

_log = logging.getLogger("otel_dbevents.langfuse")

_NOWHERE = "langfuse._client.resource_manager"


class Clients:
    """Finds the client of a public key. One object of it asks for each client once."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[object, Any]] = {}

    def get(self, public_key: str | None) -> Any:
        """Return the client of ``public_key``; without one the only client that there is.

        None where there is no such client, where there are several and no key says which, and where
        it takes nothing any more: it was shut down, or this is a forked child in which its threads
        are missing. What is given to such a client would be waited for by its ``flush`` for ever.
        """
        managers = _managers()
        if public_key is None and len(managers) == 1:
            public_key = next(iter(managers))
        manager = managers.get(public_key or "")
        if public_key is None or manager is None or not _takes_scores(manager):
            return None
        known = self._found.get(public_key)
        if known is None or known[0] is not manager:
            from langfuse import get_client

            known = self._found[public_key] = (manager, get_client(public_key=public_key))
        return known[1]


def _managers() -> Mapping[str, Any]:
    """Return what Langfuse keeps for each public key; empty where no client was ever made.

    Looked at beforehand, as ``get_client`` makes a client for a key that it does not know.
    """
    kind = getattr(sys.modules.get(_NOWHERE), "LangfuseResourceManager", None)
    managers = getattr(kind, "_instances", None)
    return dict(managers) if isinstance(managers, Mapping) else {}


def _takes_scores(manager: Any) -> bool:
    """Whether somebody takes what is put into its queue of scores."""
    if getattr(manager, "_shutdown", False) or not getattr(manager, "tracing_enabled", True):
        return False
    for name in ("_score_consumers", "_ingestion_consumers"):
        threads = getattr(manager, name, None)
        if threads is not None:
            return any(thread.is_alive() for thread in threads)
    return True


__all__ = ["Clients"]

"""Ledgers: where the sources enter what the database did within LLM work.

Entering is all that is done on the application's thread: which generation is the cause is looked
up anew only when one has ended, and nothing is added up.
"""

from collections.abc import Callable
from typing import Final

from msgspec.structs import force_setattr, replace

from otel_dbevents.events import Event, LlmContext
from otel_dbevents.llm.nodes import Node, Tree

NO_GENERATION: Final = LlmContext()
_MANY: Final = 5_000
"""So much may wait for the worker; of more the application's thread adds up what is there."""


class Ledger:
    """What is known of one context within LLM work."""

    __slots__ = ("_llm", "_mark", "_node", "_prompt", "_tree", "_version")

    def __init__(self, node: Node, mark: Callable[[Tree], None], *, prompt: bool) -> None:
        self._node = node
        self._tree = node.tree
        self._mark = mark
        self._prompt = prompt
        self._version: object = None
        self._llm = NO_GENERATION

    def cause(self) -> LlmContext:
        """Return which generation causes what happens now."""
        tree = self._tree
        if len(tree.pending) > _MANY:
            tree.relieve()
        version = tree.version
        if version is not self._version:
            self._llm, self._version = self._look(), version
        return self._llm

    def _look(self) -> LlmContext:
        told = self._node.cause()
        found = NO_GENERATION if told is None else told[self._prompt]
        environment = found.environment or self._node.environment()
        return (
            found if found.environment == environment else replace(found, environment=environment)
        )

    def enter(self, event: Event, cause: LlmContext | None = None) -> None:
        """Enter an event that is about to be published, and have it say what caused it.

        That is ``cause``, where it was asked for when the query ran, else the one of now. Takes no
        lock and calls nobody: it may be a finalizer that comes here.
        """
        force_setattr(event, "llm", self.cause() if cause is None else cause)
        tree = self._tree
        tree.pending.append((self._node, event))
        if not tree.is_dirty:
            tree.is_dirty = True
            self._mark(tree)


class Elsewhere:
    """The ledger of a service that LLM work in another process calls: nothing is added up here."""

    def cause(self) -> LlmContext:
        """Return that which generation it is is not known here."""
        return NO_GENERATION

    def enter(self, event: Event, cause: LlmContext | None = None) -> None:  # noqa: ARG002
        """Have the event say that it belongs to LLM work."""
        force_setattr(event, "llm", NO_GENERATION)


ELSEWHERE: Final = Elsewhere()

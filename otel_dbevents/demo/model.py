"""The language model as the assistant sees it: a conversation goes in, the next turn comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool to be run."""

    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One entry of a conversation: what the user asked, the model said, or a tool gave back."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_call: ToolCall | None = None


Conversation: TypeAlias = Sequence[Message]
"""Everything said so far, oldest first."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model does next: call a tool, or answer. With the tokens it took and gave."""

    message: Message
    input_tokens: int
    output_tokens: int

    @property
    def finish_reason(self) -> str:
        """Why the model stopped."""
        return "tool_calls" if self.message.tool_call else "stop"


class LanguageModel(Protocol):
    """Any language model that can call tools. Put your own provider's client behind it."""

    @property
    def name(self) -> str:
        """The model's name, as the provider calls it."""
        ...

    @property
    def provider(self) -> str:
        """Who serves it: the value of ``gen_ai.provider.name``."""
        ...

    def complete(self, conversation: Conversation) -> Turn:
        """Return the model's next turn."""
        ...

    async def acomplete(self, conversation: Conversation) -> Turn:
        """Return the model's next turn without holding up the event loop."""
        ...

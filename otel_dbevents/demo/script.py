"""A stand-in for a language model: it reads the conversation and plays the next turn of a script.

Its turns come from here instead of from a model; what the tools give back is real, and so the
answers are made of it.
"""

import asyncio
import json
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from otel_dbevents.demo.model import Conversation, Message, ToolCall, Turn

Script: TypeAlias = Generator[ToolCall, "Given", str]
"""Yields the tools to call, is sent what each gave back, and returns the answer."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a tool gave back: rows, or the reason why there are none."""

    content: str

    @property
    def error(self) -> str:
        """The error, if it was one."""
        return self.content.removeprefix("error: ") if self.content.startswith("error: ") else ""

    @property
    def rows(self) -> list[Any]:
        """The rows, each a list."""
        rows: list[Any] = json.loads(self.content)
        return rows


@dataclass(frozen=True)
class ScriptedModel:
    """Plays the script that belongs to the user's question. Takes as long as a quick model."""

    scripts: Mapping[str, Callable[[], Script]]
    name: str = "scripted-sql"
    provider: str = "scripted"
    seconds_per_token: float = field(default=0.0012, repr=False)

    def complete(self, conversation: Conversation) -> Turn:
        """Return the script's next turn, after the time that its tokens take."""
        turn = self._turn(conversation)
        time.sleep(turn.output_tokens * self.seconds_per_token)
        return turn

    async def acomplete(self, conversation: Conversation) -> Turn:
        """Return the script's next turn, after the time that its tokens take."""
        turn = self._turn(conversation)
        await asyncio.sleep(turn.output_tokens * self.seconds_per_token)
        return turn

    def _turn(self, conversation: Conversation) -> Turn:
        question = next(message.content for message in conversation if message.role == "user")
        given = [Given(message.content) for message in conversation if message.role == "tool"]
        said = _play(self.scripts[question](), given)
        read = sum(_tokens(message) for message in conversation)
        return Turn(said, input_tokens=read, output_tokens=_tokens(said))


def _play(script: Script, given: list[Given]) -> Message:
    """Go through the script up to where the conversation is, and take what comes next."""
    try:
        call = next(script)
        for result in given:
            call = script.send(result)
    except StopIteration as end:
        return Message("assistant", end.value)
    script.close()
    return Message("assistant", "", call)


def _tokens(message: Message) -> int:
    """Return about as many tokens as a tokenizer would find."""
    call = json.dumps(dict(message.tool_call.arguments)) if message.tool_call else ""
    return 8 + (len(message.content) + len(call)) // 4

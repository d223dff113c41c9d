"""A text-to-SQL assistant: asks the model, runs the tools it calls, until it has an answer.

Its spans are made with the plain OpenTelemetry API and follow the conventions for generative AI:
``invoke_agent`` for a question, ``chat`` for a call of the model, ``execute_tool`` for a tool.
Nothing in here knows of otel_dbevents; what the database does appears below ``execute_tool``.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from otel_dbevents.demo.model import LanguageModel, Message, ToolCall, Turn

Tool: TypeAlias = Callable[..., str]
AsyncTool: TypeAlias = Callable[..., Awaitable[str]]

NAME = "shop-assistant"
INSTRUCTIONS = "You answer questions about the shop. Use run_sql for what the data must tell."
MOST_TURNS = 6


@dataclass(frozen=True, slots=True)
class Answer:
    """What the assistant says, and the trace that tells how it came to say it."""

    text: str
    trace_id: str


class _Conversing:
    """What the two assistants share: the model, the tracer, and one span for each kind of step."""

    def __init__(self, model: LanguageModel, tracer: Tracer) -> None:
        self._model = model
        self._tracer = tracer

    def _ask(self, question: str) -> list[Message]:
        return [Message("system", INSTRUCTIONS), Message("user", question)]

    @contextmanager
    def _agent_span(self) -> Iterator[Span]:
        attributes = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": self._model.provider,
            "gen_ai.agent.name": NAME,
            "gen_ai.request.model": self._model.name,
        }
        with self._tracer.start_as_current_span(
            f"invoke_agent {NAME}", attributes=attributes
        ) as span:
            yield span

    @contextmanager
    def _chat_span(self) -> Iterator[Span]:
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self._model.provider,
            "gen_ai.request.model": self._model.name,
        }
        with self._tracer.start_as_current_span(
            f"chat {self._model.name}", kind=SpanKind.CLIENT, attributes=attributes
        ) as span:
            yield span

    @contextmanager
    def _tool_span(self, call: ToolCall) -> Iterator[Span]:
        attributes = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": call.tool,
            "gen_ai.tool.type": "datastore",
        }
        with self._tracer.start_as_current_span(
            f"execute_tool {call.tool}", attributes=attributes
        ) as span:
            yield span


class Assistant(_Conversing):
    """Answers one question at a time."""

    def __init__(self, model: LanguageModel, tools: Mapping[str, Tool], tracer: Tracer) -> None:
        super().__init__(model, tracer)
        self._tools = tools

    def answer(self, question: str) -> Answer:
        """Return the answer to a question. Each question is a trace of its own."""
        conversation = self._ask(question)
        with self._agent_span() as span:
            trace_id = format_trace_id(span.get_span_context().trace_id)
            for _ in range(MOST_TURNS):
                said = self._complete(conversation)
                if said.tool_call is None:
                    return Answer(said.content, trace_id)
                conversation += [said, self._run(said.tool_call)]
        return Answer(_GAVE_UP, trace_id)

    def _complete(self, conversation: list[Message]) -> Message:
        with self._chat_span() as span:
            turn = self._model.complete(conversation)
            _record_usage(span, turn)
        return turn.message

    def _run(self, call: ToolCall) -> Message:
        with self._tool_span(call) as span:
            try:
                return Message("tool", self._tools[call.tool](**call.arguments))
            except SQLAlchemyError as error:
                return _refused(span, error)


class AsyncAssistant(_Conversing):
    """Answers many questions at a time, on an event loop."""

    def __init__(
        self, model: LanguageModel, tools: Mapping[str, AsyncTool], tracer: Tracer
    ) -> None:
        super().__init__(model, tracer)
        self._tools = tools

    async def answer(self, question: str) -> Answer:
        """Return the answer to a question. Each question is a trace of its own."""
        conversation = self._ask(question)
        with self._agent_span() as span:
            trace_id = format_trace_id(span.get_span_context().trace_id)
            for _ in range(MOST_TURNS):
                said = await self._complete(conversation)
                if said.tool_call is None:
                    return Answer(said.content, trace_id)
                conversation += [said, await self._run(said.tool_call)]
        return Answer(_GAVE_UP, trace_id)

    async def _complete(self, conversation: list[Message]) -> Message:
        with self._chat_span() as span:
            turn = await self._model.acomplete(conversation)
            _record_usage(span, turn)
        return turn.message

    async def _run(self, call: ToolCall) -> Message:
        with self._tool_span(call) as span:
            try:
                return Message("tool", await self._tools[call.tool](**call.arguments))
            except SQLAlchemyError as error:
                return _refused(span, error)


_GAVE_UP = "I did not find an answer."


def _record_usage(span: Span, turn: Turn) -> None:
    found: dict[str, Any] = {
        "gen_ai.usage.input_tokens": turn.input_tokens,
        "gen_ai.usage.output_tokens": turn.output_tokens,
        "gen_ai.response.finish_reasons": [turn.finish_reason],
    }
    span.set_attributes(found)


def _refused(span: Span, error: SQLAlchemyError) -> Message:
    """Tell the model why, so that it can mend its query; tell the span only the kind of error."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
    span.set_attribute("error.type", type(cause).__qualname__)
    span.set_status(StatusCode.ERROR)
    return Message("tool", f"error: {type(cause).__name__}: {cause}")

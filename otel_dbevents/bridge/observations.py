"""Observations: which database spans Langfuse is shown, and what they say there.

Only a span that was chosen here has `at.LANGFUSE`; whatever sends spans to Langfuse goes by that
alone. Chosen is, within an LLM trace, what failed or was slow, or every query, and no more of a
trace than its quota. Langfuse keeps milliseconds, no span events and nothing of ``db.*``: so
what is to be seen there is said in its own words, without any value.
"""

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from otel_dbevents.bridge import attributes as at
from otel_dbevents.bridge import moments
from otel_dbevents.bridge.descriptions import Describe, Description
from otel_dbevents.bridge.quota import Grant, Quota
from otel_dbevents.events import (
    CheckoutTimedOut,
    Event,
    Failure,
    LlmContext,
    QueryExecuted,
    QueryFailed,
)

_MS: Final = 1_000_000
_QUERIES: Final = (QueryExecuted, QueryFailed)
_NO_CONTEXT: Final = LlmContext()

_FOREIGN: Final = frozenset(
    {
        "all_messages_events",
        "deployment.environment",
        "deployment.environment.name",
        "events",
        "final_result",
        "input",
        "model",
        "model_config",
        "output",
        "prompt",
        "session.id",
        "tag.tags",
        "tool_arguments",
        "tool_response",
        "user.id",
    }
)
_FOREIGN_PREFIXES: Final = (
    "ai.",
    "gcp.vertex.",
    "gen_ai.",
    "genkit:",
    "input.",
    "lk.",
    "llm.",
    "logfire.",
    "mlflow.",
    "openinference.",
    "output.",
    "pydantic_ai.",
    "traceloop.",
)


class Shown(Struct, frozen=True):
    """What Langfuse is to be shown beyond the totals on the LLM spans.

    ``queries``: none of them, the slow and failed, or all. ``events``: domain events as moments.
    ``most``: so many observations of one trace.
    """

    queries: Literal["none", "slow_and_errors", "all"] = "none"
    events: bool = False
    most: int = 50

    @property
    def is_nothing(self) -> bool:
        """Whether no observation is ever made."""
        return self.queries == "none" and not self.events


class Observations:
    """Chooses spans, and says what they are in Langfuse's words.

    Args:
        shown: what is to be seen.
        slow_ns: what took as long is slow; 0: nothing is.

    Safe to be used by many threads.

    """

    def __init__(self, shown: Shown, *, slow_ns: int) -> None:
        self._shown = shown
        self._slow_ns = slow_ns
        self._quota = Quota(shown.most)

    @property
    def left_out(self) -> int:
        """How many are not shown, as their trace had had its quota."""
        return self._quota.refused

    def describing(self, describe: Describe) -> Describe:
        """Return a ``describe`` that says it in Langfuse's words too, where the span is chosen."""
        if self._shown.queries == "none":
            return describe

        def described(event: Any) -> Description:
            said = describe(event)
            return said if event.llm is None else self._in_its_words(event, said)

        return described

    def moment_of(self, event: Event) -> Description | None:
        """Describe the zero-length span of a domain event; None where it has none."""
        if not self._shown.events or event.llm is None:
            return None
        level = moments.level_of(event, has_span=self._shown.queries != "none")
        if level is None or self._take(event, is_notable=True) is Grant.NONE:
            return None
        own = {**moments.attributes_of(event, level), **self._about(event)}
        return Description(event.event_type, moments.KIND, at.NOTHING_SHARED, own)

    def _in_its_words(self, event: Any, said: Description) -> Description:
        own = said.own
        given = getattr(event, "attributes", None)
        if given:
            own = _without_foreign(own, given)
        wording = self._wording(event, said)
        if wording:
            own = {**own, **self._about(event), **wording}
            if given:  # what the application says on purpose goes before
                own.update((key, given[key]) for key in wording.keys() & given.keys())
        return said if own is said.own else replace(said, own=own, is_clean=False)

    def _wording(self, event: Any, said: Description) -> dict[str, at.Value]:
        """Return what a chosen span says; nothing for one that is not chosen."""
        folded = said.own.get(at.FOLDED_COUNT)
        spent_ns = event.spent_ns if type(event) is QueryExecuted else event.duration_ns
        is_slow = bool(self._slow_ns) and spent_ns >= self._slow_ns and folded is None
        is_notable = said.failure is not None or is_slow
        is_wanted = self._shown.queries == "all" and isinstance(event, _QUERIES)
        grant = self._take(event, is_notable) if is_notable or is_wanted else Grant.NONE
        if grant is Grant.NONE:
            return {}
        if folded is not None:
            spent_ns = round(float(said.own[at.FOLDED_DURATION]) * 1e9) + event.reading_ns  # type: ignore[arg-type]
        found: dict[str, at.Value] = {
            at.LANGFUSE: True,
            at.OBSERVATION_TYPE: "span",
            at.METADATA_DURATION_MS: spent_ns / _MS,
        }
        found.update(_contents(event))
        status = self._status(said, is_slow, spent_ns, found)
        if grant is Grant.LAST:
            last = f"the last of {self._shown.most} that are shown of this trace"
            further = last if is_notable else "further ones are shown only if slow or failed"
            status.append(f"{further}; db_query_count above counts all")
        if status:
            found[at.OBSERVATION_STATUS] = "; ".join(status)
        return found

    def _status(
        self, said: Description, is_slow: bool, spent_ns: int, found: dict[str, at.Value]
    ) -> list[str]:
        """Return what is to be said of how it went, and put the level into ``found``."""
        count = said.own.get(at.FOLDED_COUNT)
        if said.failure is not None:
            found[at.OBSERVATION_LEVEL] = "ERROR"
            return [_failed(said.failure)]
        if is_slow:
            found[at.OBSERVATION_LEVEL] = "WARNING"
            return [f"took {spent_ns / _MS:.1f} ms; slow from {self._slow_ns / _MS:g} ms on"]
        if count is None:
            return []
        found[at.METADATA_QUERY_COUNT] = count
        longest = float(said.own[at.FOLDED_LONGEST]) * 1000  # type: ignore[arg-type]
        whole = f"{spent_ns / _MS:.1f} ms in all, the longest {longest:.1f} ms"
        return [f"{count} runs of this query: {whole}"]

    def _take(self, event: Any, is_notable: bool) -> Grant:
        parent = event.parent
        return self._quota.take(b"" if parent is None else parent.trace_id, is_notable)

    def _about(self, event: Event) -> dict[str, at.Value]:
        """Return what Langfuse is to know of any observation of ours."""
        environment = (event.llm or _NO_CONTEXT).environment
        return {at.LANGFUSE_ENVIRONMENT: environment} if environment else {}


def read_rightly(span: Any) -> None:
    """Make a chosen span, while it is open, say what Langfuse takes for what was meant.

    What Langfuse's own processor puts on it when it starts is encoded as on the spans of its SDK,
    where the server decodes it, which it does not on ours. And a span within an LLM trace is not
    its root, whatever is missing above it.
    """
    said: Mapping[str, Any] = getattr(span, "attributes", None) or {}
    changed: dict[str, at.Value] = {}
    for key, value in said.items():
        if key.startswith(at.TRACE_METADATA):
            plain = _decoded(value)
            if plain is not None:
                changed[key] = plain
    if at.IS_APP_ROOT in said:
        changed[at.IS_APP_ROOT] = False
    if changed:
        span.set_attributes(changed)


def is_chosen(said: Description) -> bool:
    """Whether the span is one that Langfuse is shown."""
    return at.LANGFUSE in said.own


def _decoded(value: Any) -> str | None:
    """Return the text that was encoded as JSON; None where it is no such text."""
    if not isinstance(value, str) or not (value.startswith('"') and value.endswith('"')):
        return None
    try:
        found = json.loads(value)
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def _contents(event: Any) -> dict[str, at.Value]:
    """Return input, output and what can be filtered by. No value, no name of a user in it."""
    found: dict[str, at.Value] = {}
    database = at.database_of(event)
    if database is not None:
        found[at.METADATA_SYSTEM] = database.system_name.value
    if isinstance(event, _QUERIES) and event.statement.query_text:
        found[at.OBSERVATION_INPUT] = event.statement.query_text
    if isinstance(event, CheckoutTimedOut):
        found[at.OBSERVATION_OUTPUT] = json.dumps({"used": event.used, "max": event.max})
    if type(event) is not QueryExecuted:
        return found
    if event.returned_rows >= 0:
        found[at.METADATA_ROWS] = event.returned_rows
        found[at.OBSERVATION_OUTPUT] = json.dumps({"rows": event.returned_rows})
    elif event.affected_rows >= 0:
        found[at.OBSERVATION_OUTPUT] = json.dumps({"affected_rows": event.affected_rows})
    return found


def _failed(failure: Failure) -> str:
    """Say why something failed, in fixed words: the driver's own hold values."""
    kind = failure.exception_type or failure.error_type or at.OTHER_ERROR
    code = f" ({failure.status_code})" if failure.status_code else ""
    return f"{kind}{code}" + (f": {failure.description}" if failure.description else "")


def _without_foreign(own: dict[str, at.Value], given: Mapping[str, Any]) -> dict[str, at.Value]:
    """Put aside what the application's hooks gave and Langfuse would take for its own."""
    foreign = [key for key in given if key in _FOREIGN or key.startswith(_FOREIGN_PREFIXES)]
    if not foreign:
        return own
    kept = {key: value for key, value in own.items() if key not in foreign}
    kept.update((at.HOOK + key, own[key]) for key in foreign if key in own)
    return kept

"""The settings of what Langfuse is shown."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from otel_dbevents.config.group import Group
from otel_dbevents.config.values import NUMBER, Langfuse, as_mode


class LangfuseSettings(Group):
    """What Langfuse is shown of the database work within an LLM trace."""

    langfuse: Annotated[Langfuse, BeforeValidator(as_mode)] = Field(
        Langfuse.SUMMARY,
        description="What Langfuse is shown of the database: `summary`, totals on the LLM spans "
        "that are there anyway; `slow_and_errors` or `all`, such queries too; `off`.",
        examples=["slow_and_errors"],
    )
    langfuse_prompt: bool = Field(
        False,
        description="Database spans within LLM work say the prompt's name and version and the "
        "session too, of the generation that caused them.",
        examples=["true"],
    )
    langfuse_spans_per_trace: Annotated[int, Field(ge=1, le=10_000), NUMBER] = Field(
        50,
        description="So many queries and events of one trace Langfuse is shown at most, each a "
        "billed unit; a fifth is kept for the slow and failed. Totals count all.",
        examples=["200"],
    )
    langfuse_events: bool = Field(
        False,
        description="Domain events too, as observations of the type `event`: slow, repeated and "
        "explained queries, failed connections, recovery.",
        examples=["true"],
    )
    langfuse_export: bool = Field(
        False,
        description="Send those queries and events to Langfuse ourselves (`LANGFUSE_PUBLIC_KEY`, "
        "`LANGFUSE_SECRET_KEY`, `LANGFUSE_BASE_URL`), where its client has no `langfuse_filter()`.",
        examples=["true"],
    )
    langfuse_scores: bool = Field(
        False,
        description="Two scores on each generation that caused database work, `db_time_ms` and "
        "`db_query_count`: numbers that Langfuse can chart. Two billed units each.",
        examples=["true"],
    )

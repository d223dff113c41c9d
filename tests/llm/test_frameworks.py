"""What real frameworks and instrumentations tell of their LLM work is known as such.

``tests/golden/llm_spans.json`` has their spans as they made them, asked by a program with a model
that was not there: scope, name, parent, the attributes that each had at its start and those that it
got later (texts made short), and how many queries were run in it after its children had ended.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from tests.llm.conftest import App, written

RECORDED: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parents[1] / "golden" / "llm_spans.json").read_text()
)
CAUSES: dict[str, dict[str, int]] = {
    "openinference-instrumentation-openai": {"ChatCompletion": 4, "CreateEmbeddings": 2}
    | {"Response": 2},
    "opentelemetry-instrumentation-openai-v2": {"chat gpt-x": 4, "embeddings e": 2, "None": 2},
    "opentelemetry-instrumentation-openai": {"openai.chat": 4, "openai.embeddings": 2}
    | {"openai.response": 2},
    "langfuse.openai": {"OpenAI-generation": 6, "OpenAI-embedding": 2},
    "pydantic-ai-slim": {"chat test": 3},
    "langchain": {"M": 3},
}
"""How many queries each generation caused. One of them does not tell of OpenAI's responses."""
TOTALS = {
    "pydantic-ai-slim": ("execute_tool find_customer", "invoke_agent shop"),
    "langchain": ("find_customer", "tools", "LangGraph"),
}
FRAMEWORKS = {name.partition(" ")[0]: spans for name, spans in RECORDED.items()}


def play(app: App, spans: list[dict[str, Any]], number: int) -> None:
    """Have one span happen as it did, with what happened below."""
    said = spans[number]
    tracer = app.tracer(said["scope"], said["version"])
    span = tracer.start_span(said["name"], attributes=said["start"])
    with trace.use_span(span, end_on_exit=False):
        for child, each in enumerate(spans):
            if each["parent"] == number:
                play(app, spans, child)
        if said["queries"]:
            app.query(said["queries"])
    span.set_attributes(said["end"])
    span.end()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_spans_of_real_frameworks_are_known(app: App, framework: str) -> None:
    app.observe()
    spans = FRAMEWORKS[framework]
    for number, said in enumerate(spans):
        if said["parent"] is None:
            play(app, spans, number)
    assert Counter(app.causes()) == CAUSES[framework]
    totals = {
        span.name: count
        for span in app.spans.get_finished_spans()
        for count in [written(span).get("db_query_count")]
        if count is not None
    }
    assert totals == dict.fromkeys(TOTALS.get(framework, ()), 3)

"""The keys of attributes that tell an LLM span, and those that the roll-up is written under."""

from typing import Final

# Langfuse
LANGFUSE_SCOPE: Final = "langfuse-sdk"
LANGFUSE_PUBLIC_KEY: Final = "public_key"
"""An attribute of the scope: whose client it is."""
LANGFUSE_TYPE: Final = "langfuse.observation.type"
LANGFUSE_ENVIRONMENT: Final = "langfuse.environment"
LANGFUSE_PROMPT_NAME: Final = "langfuse.observation.prompt.name"
LANGFUSE_PROMPT_VERSION: Final = "langfuse.observation.prompt.version"
LANGFUSE_BAGGAGE: Final = "langfuse_trace_id"
"""Baggage of the trace's id, which Langfuse's client sends along to other services."""
SESSION_ID: Final = "session.id"
# OpenTelemetry's GenAI conventions
GEN_AI_OPERATION: Final = "gen_ai.operation.name"
GEN_AI_CONVERSATION: Final = "gen_ai.conversation.id"
# OpenInference, OpenLLMetry
OPENINFERENCE_KIND: Final = "openinference.span.kind"
TRACELOOP_KIND: Final = "traceloop.span.kind"
LLM_REQUEST_TYPE: Final = "llm.request.type"

USUAL: Final = frozenset(
    {
        LANGFUSE_TYPE,
        GEN_AI_OPERATION,
        "gen_ai.system",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "gen_ai.agent.name",
        "gen_ai.tool.name",
        OPENINFERENCE_KIND,
        TRACELOOP_KIND,
        LLM_REQUEST_TYPE,
        "llm.model_name",
        "llm.system",
    }
)
"""Those one of which an LLM span has, if not by its start then later."""

SCOPES: Final = (
    LANGFUSE_SCOPE,
    "openinference",
    "agent_framework",
    "ai",
    "autogen-core",
    "haystack",
    "langsmith",
    "litellm",
    "pydantic-ai",
    "strands-agents",
    "traceloop",
    "vllm",
    *(
        f"opentelemetry.instrumentation.{library}"
        for library in (
            "agno",
            "alephalpha",
            "anthropic",
            "bedrock",
            "cohere",
            "crewai",
            "google_genai",
            "google_generativeai",
            "groq",
            "haystack",
            "langchain",
            "llamaindex",
            "mcp",
            "mistralai",
            "ollama",
            "openai",
            "openai_agents",
            "openai_v2",
            "replicate",
            "sagemaker",
            "together",
            "transformers",
            "vertexai",
            "voyageai",
            "watsonx",
            "writer",
        )
    ),
)
"""The instrumentation scopes whose spans are all LLM spans, and all scopes below these."""

METADATA: Final = "langfuse.observation.metadata."
"""What stands under it Langfuse shows, and filters by, as an observation's own metadata."""
QUERY_COUNT: Final = METADATA + "db_query_count"
TIME_MS: Final = METADATA + "db_time_ms"
BUSY_MS: Final = METADATA + "db_busy_ms"
SHARE: Final = METADATA + "db_share"
ERROR_COUNT: Final = METADATA + "db_error_count"
SLOWEST_MS: Final = METADATA + "db_slowest_ms"
SLOWEST_QUERY: Final = METADATA + "db_slowest_query"
REPEATED_QUERY: Final = METADATA + "db_repeated_query"

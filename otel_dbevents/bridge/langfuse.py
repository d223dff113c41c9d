"""Langfuse: what a database span within LLM work says of what caused it."""

from functools import lru_cache

from otel_dbevents.bridge import attributes as at
from otel_dbevents.events import LlmContext


@lru_cache(maxsize=1024)
def cause_attributes(llm: LlmContext) -> at.Attributes:
    """Return the attributes of the generation that caused it; shared, not to be changed.

    Of one that is not known only that there is LLM work above. Texts that are empty are left out.
    """
    found: dict[str, at.Value] = {at.LLM: True}
    if llm.generation_id is not None:
        found[at.CAUSED_BY] = llm.generation_id.hex()
    said = {
        at.CAUSED_BY_NAME: llm.generation_name,
        at.PROMPT_NAME: llm.prompt_name,
        at.PROMPT_VERSION: llm.prompt_version,
        at.PROMPT_SESSION: llm.session_id,
    }
    return found | {key: text for key, text in said.items() if text}

"""For applications that use Langfuse: the filter for its client, and scores of what was caused.

The package ``langfuse`` is imported here alone, and only where it is used. Totals on the LLM spans
need none of this.
"""

from otel_dbevents.langfuse.filter import langfuse_filter

__all__ = ["langfuse_filter"]

"""For applications that use Langfuse: scores of what a generation caused.

The package ``langfuse`` is imported here alone, and only where it is used. Totals on the LLM spans
need none of this.
"""

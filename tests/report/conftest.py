"""The application of the tests of LLM work, for those of the report."""

from tests.llm.conftest import app

__all__ = ["app"]

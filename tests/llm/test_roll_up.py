"""What the database did stands on the LLM spans that it was done below."""

from importlib.metadata import version
from typing import Any

from tests.llm.conftest import App

IS_V5 = int(version("langfuse").partition(".")[0]) >= 5


def test_a_query_is_rolled_up_on_each_open_observation_above_it(app: App, langfuse: Any) -> None:
    with (
        langfuse.start_as_current_observation(name="agent", as_type="agent"),
        langfuse.start_as_current_observation(name="tool", as_type="tool"),
    ):
        app.query()
    for name in ("agent", "tool"):
        said = app.written(name)
        assert said["db_query_count"] == 1
        assert said["db_slowest_query"] == ('"SELECT ?"' if IS_V5 else "SELECT ?")
        assert said["db_time_ms"] >= said["db_busy_ms"] > 0
        assert 0 < said["db_share"] <= 1


def test_outside_llm_work_nothing_is_written(app: App, langfuse: Any) -> None:
    with app.tracer().start_as_current_span("request"):
        app.query()
    assert app.written("request") == {}
    assert "dbevents.llm" not in (app.span("SELECT").attributes or {})

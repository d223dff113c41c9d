"""The assistant, alone: it asks the model, runs the tools, and hands errors back."""

from opentelemetry.trace import NoOpTracer
from sqlalchemy import create_engine, text

from otel_dbevents.demo.assistant import Assistant, AsyncAssistant
from otel_dbevents.demo.conversations import DELETE_ORDER, SCRIPTS
from otel_dbevents.demo.model import Message, ToolCall
from otel_dbevents.demo.script import Given, ScriptedModel
from otel_dbevents.demo.shop import database_url, open_shop
from otel_dbevents.demo.tools import run_sql, shop_tools


def endless():
    while True:
        yield ToolCall("look", {"at": "it"})


def curious():
    given = yield ToolCall("look", {"at": "the stars"})
    return f"I saw {given.rows[0][0]}."


def model() -> ScriptedModel:
    return ScriptedModel({"?": curious, "??": endless}, seconds_per_token=0.0)


def look(at: str) -> str:
    return f'[["{at}"]]'


async def alook(at: str) -> str:
    return look(at)


def test_it_answers_with_what_the_tool_gave():
    assert Assistant(model(), {"look": look}, NoOpTracer()).answer("?").text == "I saw the stars."


async def test_so_does_the_asynchronous_one():
    assistant = AsyncAssistant(model(), {"look": alook}, NoOpTracer())
    assert (await assistant.answer("?")).text == "I saw the stars."


async def test_both_give_up_after_some_turns():
    said = Assistant(model(), {"look": look}, NoOpTracer()).answer("??").text
    assistant = AsyncAssistant(model(), {"look": alook}, NoOpTracer())
    assert (await assistant.answer("??")).text == said == "I did not find an answer."


def wrong_then_right():
    given = yield ToolCall("run_sql", {"query": "SELECT missing"})
    return given.error or "no error"


def test_a_database_error_goes_back_to_the_model():
    engine = create_engine("sqlite://")
    tools = {"run_sql": lambda query: run_sql(engine, query)}
    model = ScriptedModel({"?": wrong_then_right}, seconds_per_token=0.0)
    said = Assistant(model, tools, NoOpTracer()).answer("?").text
    assert said == "OperationalError: no such column: missing"
    engine.dispose()


async def test_and_so_does_the_asynchronous_one_s():
    engine = create_engine("sqlite://")

    async def refuse(query: str) -> str:
        with engine.connect() as connection:
            return str(connection.execute(text(query)))

    model = ScriptedModel({"?": wrong_then_right}, seconds_per_token=0.0)
    assistant = AsyncAssistant(model, {"run_sql": refuse}, NoOpTracer())
    assert "no such column" in (await assistant.answer("?")).text
    engine.dispose()


def test_the_model_s_turn_depends_on_nothing_but_the_conversation():
    asked = [Message("system", "be brief"), Message("user", "?")]
    first = model().complete(asked)
    assert model().complete(asked) == first
    assert first.finish_reason == "tool_calls"
    given = Message("tool", look("the moon"))
    last = model().complete([*asked, first.message, given])
    assert (last.message.content, last.finish_reason) == ("I saw the moon.", "stop")
    assert last.input_tokens > first.input_tokens


def test_an_error_is_not_taken_for_rows():
    assert Given("error: X: no").error == "X: no"
    assert Given("[[1]]").error == ""


def test_a_database_that_checks_nothing_loses_the_order_and_the_answer_says_so(tmp_path):
    engine = create_engine(database_url(tmp_path / "shop.db"))
    open_shop(engine)
    model = ScriptedModel(SCRIPTS, seconds_per_token=0.0)
    assistant = Assistant(model, shop_tools(engine), NoOpTracer())
    assert assistant.answer(DELETE_ORDER).text == "Order 1207 is deleted."
    engine.dispose()

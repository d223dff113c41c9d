"""What the demonstration tells is what its database did, scene by scene."""

import re
from collections import Counter

import pytest

from otel_dbevents.demo import conversations
from otel_dbevents.demo.scenes import SCENES
from otel_dbevents.demo.shop import CUSTOMERS, ORDERS, PRODUCTS
from tests.demo.running import Document

AGENT = "invoke_agent shop-assistant"
CHAT = "chat scripted-sql"
TOOL = "execute_tool run_sql"


def roots(told: Document, scene: str) -> list[dict]:
    return [span for span in told.spans(scene) if span["parent_span_id"] is None]


def folded(span: dict) -> int:
    """How many queries a span stands for."""
    return span["attributes"].get("dbevents.folded.count", 1)


@pytest.mark.parametrize("scene", [scene.name for scene in SCENES])
def test_every_span_of_a_scene_hangs_on_one_of_the_application_s_roots(told, scene):
    ids = {(span["trace_id"], span["span_id"]) for span in told.spans(scene)}
    for span in told.spans(scene):
        if span["parent_span_id"] is None:
            assert span["scope"] == "shop_assistant"
        else:
            assert (span["trace_id"], span["parent_span_id"]) in ids


def test_each_question_is_a_trace_of_its_own(told):
    asked = [
        (exchange["trace_id"], scene)
        for scene in told.scenes
        for exchange in told.scenes[scene]["exchanges"]
    ]
    assert len({trace for trace, _ in asked}) == len(asked) == 13
    for trace, scene in asked:
        assert trace in {root["trace_id"] for root in roots(told, scene)}


def test_spans_lie_within_their_parents(told):
    by_id = {span["span_id"]: span for span in told.all_spans}
    for span in told.all_spans:
        parent = by_id.get(span["parent_span_id"])
        if parent is not None:
            assert parent["start_ns"] <= span["start_ns"]
            end, latest = (one["start_ns"] + one["duration_ns"] for one in (span, parent))
            assert end <= latest


def test_the_model_s_spans_follow_the_conventions(told):
    attributes = told.spans("answer", CHAT)[0]["attributes"]
    assert attributes.pop("gen_ai.usage.input_tokens") > 0
    assert attributes.pop("gen_ai.usage.output_tokens") > 0
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "scripted-sql",
        "gen_ai.response.finish_reasons": ["tool_calls"],
    }


def test_load_inserts_every_row_in_one_transaction(told):
    batches = [span for span in told.spans("load") if span["name"].startswith("BATCH INSERT")]
    sizes = [span["attributes"]["db.operation.batch.size"] for span in batches]
    assert sizes[:3] == [CUSTOMERS, PRODUCTS, ORDERS]
    assert f"{sum(sizes):,} rows" in told.answers("load")[0]
    committed = told.events("load", "TransactionCommitted")
    assert committed[-1]["statement_count"] == len(batches) == 5


def test_answer_has_the_query_below_the_tool_that_ran_it(told):
    root = told.span("answer", AGENT)
    assert told.children(root) == [CHAT, TOOL, CHAT]
    query = told.span("answer", "SELECT customers orders")
    assert told.children(told.span("answer", TOOL)) == [query["name"]]
    assert query["attributes"]["db.response.returned_rows"] == 3
    assert query["attributes"]["db.namespace"] == "shop.db"
    assert query["kind"] == "CLIENT"


def test_async_questions_keep_their_queries_apart(told):
    best_seller, quiet_day = roots(told, "async")
    assert quiet_day["start_ns"] < best_seller["start_ns"] + best_seller["duration_ns"]
    for root, tables in (
        (best_seller, "products order_items orders"),
        (quiet_day, "orders order_items"),
    ):
        (tool,) = [
            span for span in told.spans("async", TOOL) if span["parent_span_id"] == root["span_id"]
        ]
        assert f"SELECT {tables}" in told.children(tool)


def test_transaction_commits_the_unit_of_work_once(told):
    tool = told.span("transaction", "execute_tool place_order")
    assert told.children(tool)[-1] == "COMMIT shop.db"
    (committed,) = told.events("transaction", "TransactionCommitted")
    statements = [name for name in told.children(tool) if not name.startswith(("COMMIT", "CONN"))]
    assert committed["statement_count"] == len(statements)
    assert told.answers("transaction")[0].startswith(f"Done: order {ORDERS + 1}")


def test_n_plus_one_is_detected_once_with_its_count(told):
    spans = told.spans("n-plus-one", "SELECT messages")
    stands_for = [folded(span) for span in spans]
    assert stands_for[:10] == [1] * 10
    assert sum(stands_for) == 200
    repeated, *more = told.events("n-plus-one", "RepeatedQueryDetected")
    ends = [each["start_ns"] + each["duration_ns"] for each in spans]
    if max(ends) - min(each["start_ns"] for each in spans) < 1_000_000_000:
        assert (repeated["count"], more) == (200, [])
    else:  # a slow machine may have made a pause of a second, which ends what is one repetition
        assert sum(each["count"] for each in (repeated, *more)) <= 200
    assert repeated["statement"]["query_summary"] == "SELECT messages"
    assert repeated["called_from"]["file_path"] == "otel_dbevents/demo/retrieval.py"
    assert "selectinload(Order.messages)" in repeated["advice"]
    assert re.fullmatch(
        r"Yes: customers wrote so about 1\d\d of them\.", *told.answers("n-plus-one")
    )


def test_slow_query_is_detected(told):
    (slow,) = told.events("slow", "SlowQueryDetected")
    ours = [span for span in told.spans("slow") if span["scope"] == "otel_dbevents"]
    (query,) = [span for span in ours if not span["name"].startswith("CHECKOUT ")]
    assert slow["duration_ns"] >= query["duration_ns"]  # reading is the query's time too
    assert slow["duration_ns"] >= slow["threshold_ns"]
    assert slow["called_from"]["file_path"].startswith("otel_dbevents/demo/")
    assert slow["query_id"].endswith(query["span_id"])


def test_error_is_handed_back_and_mended(told):
    failed, mended = told.spans("error", TOOL)
    assert (failed["status"], mended["status"]) == ("ERROR", "UNSET")
    assert told.children(failed) == ["SELECT orders"]
    query = told.span("error", "SELECT orders")
    assert query["status"] == "ERROR"
    assert query["attributes"]["error.type"] == query["attributes"]["db.response.status_code"]
    assert len(told.events("error", "QueryFailed")) == 1
    assert told.answers("error")[0].endswith("EUR.")


def test_failed_commit_is_never_called_committed(told):
    assert len(told.events("commit", "CommitFailed")) == 1
    assert told.events("commit", "TransactionCommitted") == []
    tool = told.span("commit", "execute_tool delete_order")
    assert told.children(tool)[:2] == ["DELETE orders", "COMMIT shop.db"]
    assert told.span("commit", "DELETE orders")["status"] == "UNSET"
    assert told.span("commit", "COMMIT shop.db")["status"] == "ERROR"
    assert "kept order" in told.answers("commit")[0]


def test_exhausted_pool_tells_who_held_the_connection(told):
    (timeout,) = told.events("pool", "CheckoutTimedOut")
    assert (timeout["used"], timeout["max"]) == (1, 1)
    export = told.span("pool", "export orders")
    (waited,) = [span for span in told.spans("pool") if span["links"]]
    assert waited["links"] == [export["span_id"]]
    assert waited["status"] == "ERROR"
    assert [answer[:3] for answer in told.answers("pool")] == ["All", "600"]


def test_missing_database_is_told_and_so_is_its_return(told):
    names = ["DatabaseConnectionFailed", "DatabaseConnectionEstablished", "DatabaseRecovered"]
    events = told.events("connect", *names)
    assert [event["type"] for event in events] == [names[0], *names]
    assert [event["retry_count"] for event in events if "retry_count" in event] == [0, 1]
    assert events[-1]["failed_attempts"] == 2
    assert [span["status"] for span in told.spans("connect", "CONNECT replica.db")] == [
        "ERROR",
        "ERROR",
        "UNSET",
    ]
    assert told.answers("connect") == ["I cannot reach the replica.", f"{ORDERS + 1:,} orders."]


def test_no_event_is_lost(told):
    assert told.whole["events_lost"] == 0


def test_metrics_count_what_the_spans_say(told):
    queries = Counter()
    for span in told.all_spans:
        if summary := span["attributes"].get("db.query.summary"):
            queries[summary] += folded(span)
    measured = Counter()
    for point in told.points("db.client.operation.duration"):
        if summary := point["attributes"].get("db.query.summary"):
            measured[summary] += point["count"]
    assert measured == queries


def test_metrics_count_failures_and_timeouts(told):
    timeouts = told.points("db.client.connection.timeouts")
    assert sorted({point["value"] for point in timeouts}) == [0, 1]
    assert sum(point["value"] for point in timeouts) == 1
    failures = told.points("database.connection.failures", db__namespace="replica.db")
    assert sum(point["value"] for point in failures) == 2
    assert {point["value"] for point in told.points("database.connection.status")} == {1}


def test_no_literal_of_a_query_gets_out(told):
    """The model's queries hold numbers and dates; neither spans nor events nor metrics may."""
    written = str([script.__code__.co_consts for script in conversations.SCRIPTS.values()])
    said = str([told.all_spans, told.all_events, told.whole["metrics"]])
    for literal in ("2026-05-01", "2026-05-31", "<= 200", "> 100"):
        assert literal in written
        assert literal not in said
    assert "otel-dbevents-" not in said  # the folder's name

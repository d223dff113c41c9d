"""What `otel-dbevents check` says of Langfuse: what is shown, by which way, and does it answer."""

import pytest

from otel_dbevents.check import report
from otel_dbevents.check.langfuse import look_at_langfuse
from tests.check.test_outlets import (  # noqa: F401 - a server that answers what it is told
    told,
    where,
)


@pytest.fixture(autouse=True)
def environment(monkeypatch, langfuse):
    monkeypatch.setattr(report, "PATIENCE", 60.0)  # none of them needs all of it
    for name in ("PUBLIC_KEY", "SECRET_KEY", "BASE_URL", "HOST", "TIMEOUT"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)
    return langfuse


@pytest.fixture
def says(monkeypatch, langfuse):
    """What is said with these settings; with keys, if not told otherwise, those of the server."""

    def look(*, keys=True, **settings):
        for name, value in (langfuse.variables if keys else {}).items():
            monkeypatch.setenv(name, value)
        for name, value in settings.items():
            given = name if name.startswith("LANGFUSE") else f"OTEL_DBEVENTS_{name.upper()}"
            monkeypatch.setenv(given, value)
        return list(look_at_langfuse())

    return look


def where_of(langfuse):
    return langfuse.endpoint.removeprefix("http://")


def test_totals_need_no_keys(says):
    (shown,) = says(keys=False)
    assert (shown.status, shown.mend) == ("ok", "")
    assert shown.text == "summary: totals stand on the LLM spans, no query is shown by itself"


def test_it_says_that_nothing_is_shown(says):
    (shown,) = says(langfuse="off")
    assert shown.text == "is shown nothing, by OTEL_DBEVENTS_LANGFUSE"


def test_keys_that_are_taken_are_said_to_be_and_of_which_project(says, langfuse):
    shown, answer = says(langfuse="slow_and_errors", langfuse_export="true")
    assert shown.text == (
        "slow_and_errors: totals stand on the LLM spans, queries by themselves "
        "(at most 50 in a trace); sent by us, as OTEL_DBEVENTS_LANGFUSE_EXPORT is on"
    )
    assert (answer.status, answer.mend) == ("ok", "")
    assert answer.text == f"{where_of(langfuse)} takes the keys, of the project tests"
    assert langfuse.observations == []


def test_it_names_the_ways_where_we_do_not_send(says):
    shown, answer = says(langfuse="all", langfuse_events="true")
    assert "queries by themselves, domain events (at most 50" in shown.text
    assert "langfuse_filter()" in shown.mend
    assert "OTEL_DBEVENTS_LANGFUSE_EXPORT=true" in shown.mend
    assert answer.status == "ok"


@pytest.mark.parametrize(("export", "status"), [("true", "wrong"), ("false", "warning")])
def test_keys_that_are_not_taken_are_wrong_where_we_need_them(says, langfuse, export, status):
    langfuse.public_key = "pk-lf-another"
    variables = {"LANGFUSE_PUBLIC_KEY": "pk-lf-tests"}
    _, answer = says(langfuse="all", langfuse_export=export, **variables)
    assert (answer.status, answer.text) == (
        status,
        f"{where_of(langfuse)} does not take us: code: 401, the keys are not taken",
    )
    assert "check LANGFUSE_PUBLIC_KEY" in answer.mend
    assert "Xq7" not in answer.text


def test_missing_keys_are_wrong_where_we_are_to_send(says):
    _, answer = says(keys=False, langfuse="all", langfuse_export="true")
    assert answer.status == "wrong"
    assert answer.text == "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY are not set"
    assert answer.mend == "take the keys from your project's settings in Langfuse"


def test_a_host_where_nothing_listens_is_said(says):
    address = {"LANGFUSE_BASE_URL": "http://127.0.0.1:9"}
    _, answer = says(langfuse="all", langfuse_export="true", **address)
    assert (answer.status, answer.text) == (
        "wrong",
        "127.0.0.1:9 does not take us: Connection refused",
    )
    assert "that Langfuse runs there" in answer.mend


def test_a_host_that_is_no_langfuse_is_said(says, told, where):  # noqa: F811
    told.texts = ["<html>"]
    address = {"LANGFUSE_BASE_URL": f"http://{where}"}
    _, answer = says(langfuse="all", langfuse_export="true", **address)
    assert (answer.status, answer.text) == ("wrong", f"{where} does not answer as Langfuse does")

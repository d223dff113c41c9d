"""The settings: where a value comes from, and what a wrong one is answered with."""

import logging
import math

import pytest

from otel_dbevents import compat
from otel_dbevents.config import PREFIX, Config, ConfigError, takes, variable
from otel_dbevents.events import Environment

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Take our variables of the machine away, and forget what was warned of."""
    for name in Config.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    monkeypatch.setattr(Config, "_told", set())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "slow_query_ms",
            '"300"',
            "but got '\"300\"' (its quotes are part of it: leave them away)",
        ),
        ("enabled", "true\r", "(it ends in a line end: save its file with Unix line ends)"),
        ("bus_url", "'redis://:pass@h'", "not shown (its quotes are part of it: leave them away)"),
    ],
)
def test_quotes_and_line_ends_that_no_shell_took_away_are_pointed_out(
    monkeypatch, name, value, said
):
    monkeypatch.setenv(variable(name), value)
    with pytest.raises(ConfigError) as raised:
        Config()
    assert said in str(raised.value)
    assert "pass" not in str(raised.value)


def test_the_defaults():
    config = Config()
    assert config.enabled
    assert config.environment is None
    assert (config.slow_query_ms, config.repeated_queries, config.min_duration_ms) == (500, 10, 0)
    assert not config.require_parent
    assert not config.capture_error_messages
    assert not config.synchronous
    assert (config.history, config.buffer_size, config.flush_timeout_ms) == (None, 20_000, 2_000)
    assert config.spans
    assert config.metrics
    assert config.logs


def test_an_argument_goes_before_the_variable_and_the_variable_before_the_default(monkeypatch):
    monkeypatch.setenv(variable("slow_query_ms"), "100")
    monkeypatch.setenv(variable("buffer_size"), "7")
    config = Config(slow_query_ms=200)
    assert (config.slow_query_ms, config.buffer_size) == (200, 7)
    origins = {name: config.origin(name) for name in ("slow_query_ms", "buffer_size", "history")}
    assert origins == {
        "slow_query_ms": "argument",
        "buffer_size": "environment",
        "history": "default",
    }


def test_an_empty_variable_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv(variable("slow_query_ms"), "")
    assert Config().slow_query_ms == 500


def test_a_config_does_not_change():
    with pytest.raises(ValueError, match="frozen"):
        Config().spans = False


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("production", Environment.PRODUCTION),
        ("  Staging ", Environment.STAGING),
        ("qa-7", Environment.LOCAL),
        (Environment.DEVELOPMENT, Environment.DEVELOPMENT),
    ],
)
def test_the_environment_is_read_without_regard_to_case_and_unknown_is_local(text, environment):
    assert Config(environment=text).environment is environment


def test_history_is_off_in_production_unless_asked_for():
    assert Config().history_for(Environment.PRODUCTION) == 0
    assert Config().history_for(Environment.STAGING) == 1000
    assert Config(history=5).history_for(Environment.PRODUCTION) == 5
    assert Config(history=0).history_for(Environment.LOCAL) == 0


def test_plain_options_make_a_config_and_those_without_a_value_are_not_given():
    config = Config.from_mapping({"slow_query_ms": 20, "history": None, "environment": "staging"})
    assert (config.slow_query_ms, config.environment) == (20, Environment.STAGING)
    assert config.origin("history") == "default"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"slow_query_ms": "fast"},
            "slow_query_ms takes a number of milliseconds from 0 to 86400000, but got 'fast'; "
            "for example slow_query_ms=200",
        ),
        (
            {"enabled": "perhaps"},
            "enabled takes true or false, but got 'perhaps'; for example enabled=False",
        ),
        (
            {"environment": 3},
            "environment takes one of production, staging, local, development, but got 3; "
            'for example environment="production"',
        ),
        (
            {"history": -1},
            "history takes a whole number from 0 to 1000000, but got -1; for example history=100",
        ),
        (
            {"buffer_size": 0},
            "buffer_size takes a whole number from 1 to 10000000, but got 0; "
            "for example buffer_size=50000",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_it_takes_and_an_example(values, message):
    with pytest.raises(ConfigError) as raised:
        Config(**values)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slow_query_ms", True),
        ("slow_query_ms", math.nan),
        ("min_duration_ms", math.inf),
        ("flush_timeout_ms", 600_001),
        ("repeated_queries", 1.5),
        ("history", True),
        ("spans", None),
    ],
)
def test_what_is_out_of_bounds_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"^{name} takes "):
        Config(**{name: value})


def test_a_wrong_variable_is_named_and_all_that_is_wrong_is_told_at_once(monkeypatch):
    monkeypatch.setenv(variable("slow_query_ms"), "fast")
    monkeypatch.setenv(variable("logs"), "3")
    with pytest.raises(ConfigError) as raised:
        Config(history="many")
    assert str(raised.value).splitlines() == [
        "3 settings of otel_dbevents are wrong:",
        "OTEL_DBEVENTS_SLOW_QUERY_MS takes a number of milliseconds from 0 to 86400000, but got "
        "'fast'; for example OTEL_DBEVENTS_SLOW_QUERY_MS=200",
        "history takes a whole number from 0 to 1000000, but got 'many'; for example history=100",
        "OTEL_DBEVENTS_LOGS takes true or false, but got '3'; for example OTEL_DBEVENTS_LOGS=false",
    ]


def test_a_long_value_is_cut():
    with pytest.raises(ConfigError, match=r"but got 'x{56}\.\.\.; for example"):
        Config(slow_query_ms="x" * 500)


def test_an_unknown_argument_is_refused_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"^histroy is not a setting.*; did you mean history"):
        Config(histroy=1)
    with pytest.raises(ConfigError, match="there are: buffer_bytes, buffer_size, "):
        Config(zzz=1)


@pytest.mark.parametrize("name", ["OTEL_DBEVENT_LOGS", "OTEL_DB_EVENTS_LOGS"])
def test_a_variable_whose_beginning_is_nearly_ours_is_warned_of(monkeypatch, caplog, name):
    monkeypatch.setenv(name, "false")
    Config()
    assert caplog.messages == [
        f"{name} is not a setting of otel_dbevents and is ignored; did you mean OTEL_DBEVENTS_LOGS?"
    ]


def test_an_unknown_variable_is_warned_of_once_with_the_nearest_one(monkeypatch, caplog):
    monkeypatch.setenv(f"{PREFIX}SLOW_QUERY", "3")
    with caplog.at_level(logging.WARNING):
        Config()
        Config()
    assert [record.getMessage() for record in caplog.records] == [
        "OTEL_DBEVENTS_SLOW_QUERY is not a setting of otel_dbevents and is ignored; "
        "did you mean OTEL_DBEVENTS_SLOW_QUERY_MS?"
    ]


def test_every_setting_says_what_it_does_and_what_it_takes():
    for name, field in Config.model_fields.items():
        assert field.description
        assert takes(name)


def test_scores_are_refused_where_nothing_is_known_of_generations(monkeypatch):
    monkeypatch.setenv(variable("langfuse"), "off")
    with pytest.raises(ConfigError) as raised:
        Config(langfuse_scores=True)
    assert str(raised.value) == (
        "langfuse_scores is on, but OTEL_DBEVENTS_LANGFUSE is off, so that nothing is known of "
        "generations: set OTEL_DBEVENTS_LANGFUSE=summary, or turn langfuse_scores off"
    )


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (None, "Langfuse's client is not installed"),
        ("4.6.1", "langfuse>=4.7 is needed, and 4.6.1 is installed"),
    ],
)
def test_scores_are_refused_without_a_client_that_has_them(monkeypatch, found, problem):
    monkeypatch.setattr(compat, "installed", {"langfuse": found}.get)
    monkeypatch.setenv(variable("langfuse_scores"), "true")
    with pytest.raises(ConfigError) as raised:
        Config()
    assert str(raised.value) == (
        f"OTEL_DBEVENTS_LANGFUSE_SCORES is on, and {problem}: "
        "pip install 'otel-dbevents[langfuse]', or turn OTEL_DBEVENTS_LANGFUSE_SCORES off"
    )
    assert not Config(langfuse_scores=False).langfuse_scores


def test_scores_are_allowed_with_a_client_that_has_them():
    assert Config(langfuse_scores=True).langfuse_scores


@pytest.mark.parametrize("wish", ["langfuse_events", "langfuse_export"])
def test_a_wish_for_langfuse_is_refused_where_nothing_is_shown_there(wish):
    with pytest.raises(ConfigError) as raised:
        Config(**{wish: True}, langfuse="off")
    assert str(raised.value) == (
        f"{wish} is on, but langfuse is off: set langfuse=summary, or turn {wish} off"
    )
    with pytest.raises(ConfigError) as raised:
        Config(**{wish: True}, langfuse="all", spans=False)
    assert str(raised.value) == f"{wish} is on, but spans is off: turn spans on, or {wish} off"


def test_an_export_to_langfuse_is_refused_where_there_is_nothing_to_send(monkeypatch):
    monkeypatch.setenv(variable("langfuse_export"), "true")
    with pytest.raises(ConfigError) as raised:
        Config()
    assert str(raised.value) == (
        "OTEL_DBEVENTS_LANGFUSE_EXPORT is on, but OTEL_DBEVENTS_LANGFUSE=summary is told on the "
        "LLM spans, and there is nothing to send: set OTEL_DBEVENTS_LANGFUSE=slow_and_errors, or "
        "turn OTEL_DBEVENTS_LANGFUSE_EXPORT off"
    )
    assert Config(langfuse_events=True).langfuse_export

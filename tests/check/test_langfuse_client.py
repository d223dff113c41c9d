"""What is said of Langfuse's client, from what is installed and from its variables."""

import pytest

from otel_dbevents import compat
from otel_dbevents.check import langfuse_client
from otel_dbevents.check.langfuse_client import look_at_client
from otel_dbevents.config import Config, variable

SECRET = "sk-lf-Xq7check"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PUBLIC_KEY", "SECRET_KEY", "TRACING_ENABLED"):
        monkeypatch.delenv(f"LANGFUSE_{name}", raising=False)
    for name in Config.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def with_version(monkeypatch: pytest.MonkeyPatch, found: str | None) -> None:
    for module in (compat, langfuse_client):
        monkeypatch.setattr(module, "installed", {"langfuse": found}.get)


def looked() -> list[tuple[str, str, str]]:
    return [(each.status, each.text, each.mend) for each in look_at_client()]


def test_where_there_is_nothing_of_langfuse_nothing_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_version(monkeypatch, None)
    assert looked() == []


def test_the_one_that_is_installed_here_is_well() -> None:
    ((status, text, mend),) = looked()
    assert (status, text, mend) == ("ok", f"langfuse {compat.installed('langfuse')}", "")


@pytest.mark.parametrize(
    ("version", "status", "text", "mend"),
    [
        ("3.15.0", "warning", "sends every span to Langfuse", "pip install 'langfuse>=4.7'"),
        ("4.6.1", "warning", "langfuse>=4.7 is needed, and 4.6.1 is", "otel-dbevents[langfuse]"),
        (None, "ok", "is not installed", ""),
    ],
)
def test_its_version(
    monkeypatch: pytest.MonkeyPatch, version: str | None, status: str, text: str, mend: str
) -> None:
    with_version(monkeypatch, version)
    for name in ("PUBLIC", "SECRET"):
        monkeypatch.setenv(f"LANGFUSE_{name}_KEY", SECRET)
    ((was, said, mended),) = looked()
    assert was == status
    assert text in said
    assert mend in mended


@pytest.mark.parametrize("name", ["PUBLIC", "SECRET"])
def test_one_key_without_the_other(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"LANGFUSE_{name}_KEY", SECRET)
    other = {"PUBLIC": "SECRET", "SECRET": "PUBLIC"}[name]
    _, (status, text, mend) = looked()
    assert status == "warning"
    assert text == (
        f"LANGFUSE_{name}_KEY is set, and LANGFUSE_{other}_KEY is not: "
        "a client made of them does nothing"
    )
    assert mend == f"set LANGFUSE_{other}_KEY, or give it in the code"
    assert SECRET not in text + mend


def test_turned_off_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGFUSE_TRACING_ENABLED", "False")
    assert looked()[1][0:2] == ("warning", "is turned off, by LANGFUSE_TRACING_ENABLED")


def test_scores_are_said_to_be_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("langfuse_scores"), "true")
    assert "gets two scores for each generation" in looked()[1][1]


def test_wrong_settings_are_said_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("langfuse_scores"), "perhaps")
    assert len(looked()) == 1

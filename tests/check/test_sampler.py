"""What is said of the sampler is what the SDK does with its variables, also with wrong ones."""

import logging
import os
from importlib.metadata import version

import pytest
from opentelemetry.sdk import _configuration as sdk
from opentelemetry.sdk.trace import TracerProvider

from otel_dbevents.check.sampler import look_at_sampler

SDK_VERSION = tuple(map(int, version("opentelemetry-sdk").split(".")[:2]))
ALL = "the SDK keeps every new trace"
NONE_SUCH = "is no sampler that the SDK can make"
TOO_MUCH = ALL if SDK_VERSION >= (1, 45) else "the SDK cannot be set up with it"
DROPS = ("warning", "the sampler drops every new trace")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


def said(
    monkeypatch: pytest.MonkeyPatch, sampler: str | None, argument: str | None
) -> list[tuple[str, str]]:
    for name, value in (("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)):
        if value is not None:
            monkeypatch.setenv(name, value)
    return [(found.status, found.text) for found in look_at_sampler()]


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        (None, None, []),
        ("", "", []),
        ("always_on", None, [("ok", ALL)]),
        ("parentbased_always_off", None, [DROPS]),
        ("traceidratio", "0.25", [("ok", "the SDK keeps 0.25 of the new traces")]),
        ("parentbased_traceidratio", "1", [("ok", ALL)]),
        ("parentbased_traceidratio", "0", [DROPS]),
        ("parentbased_traceidratio", "1e-3", [("ok", "the SDK keeps 0.001 of the new traces")]),
        (
            "traceidratio",
            "ten",
            [("wrong", f"OTEL_TRACES_SAMPLER_ARG=ten is no number from 0 to 1: {ALL}")],
        ),
        (
            "parentbased_traceidratio",
            "10",
            [("wrong", f"OTEL_TRACES_SAMPLER_ARG=10 is no number from 0 to 1: {TOO_MUCH}")],
        ),
        (
            "parentbased_traceidratio",
            None,
            [("wrong", f"OTEL_TRACES_SAMPLER_ARG is not set: {ALL}")],
        ),
        (
            "allways_off",
            None,
            [("wrong", f"OTEL_TRACES_SAMPLER=allways_off {NONE_SUCH}: {ALL}")],
        ),
        (
            "always_on",
            "0.1",
            [
                (
                    "warning",
                    "OTEL_TRACES_SAMPLER_ARG is not read, as OTEL_TRACES_SAMPLER names none of "
                    f"traceidratio and parentbased_traceidratio: {ALL}",
                )
            ],
        ),
    ],
)  # fmt: skip
def test_what_the_sdk_makes_of_the_variables_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sampler: str | None,
    argument: str | None,
    expected: list[tuple[str, str]],
) -> None:
    assert said(monkeypatch, sampler, argument) == expected
    assert not caplog.records, "what the SDK says of it is told in our words"


@pytest.mark.parametrize("sampler", ["traceidratio", " TRACEIDRATIO", "ALWAYS_OFF", "nosuch", ""])
@pytest.mark.parametrize("argument", ["0.5", " 0.5 ", "-1", "nan", "half", ""])
def test_the_share_that_is_told_is_that_of_the_sampler_that_the_sdk_makes(
    monkeypatch: pytest.MonkeyPatch, sampler: str, argument: str
) -> None:
    told = " ".join(text for _, text in said(monkeypatch, sampler, argument))
    logging.getLogger("opentelemetry.sdk").setLevel(logging.CRITICAL)
    try:
        sampler = sdk._import_sampler(sdk._get_sampler())
        made = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        kept = made.sampler.get_description().partition(",")[0]
    except ValueError:
        kept = "none"
    logging.getLogger("opentelemetry.sdk").setLevel(logging.NOTSET)
    if kept == "none":
        assert "cannot be set up" in told
    elif "0.5" in kept:
        assert "keeps 0.5" in told
    elif "AlwaysOff" in kept:
        assert "drops every" in told
    else:
        assert told == "" or ALL in told


def test_a_sampler_of_somebodys_is_told_by_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        def get_description(self) -> str:
            return "Own{every tenth}"

    monkeypatch.setattr(sdk, "_import_sampler", lambda _: Own())
    assert said(monkeypatch, "own", "7") == [("ok", "the sampler is Own{every tenth}")]

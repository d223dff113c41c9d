"""`otel-dbevents demo --sidecar`: the same run through a real Redis and a sidecar's process."""

import os
from pathlib import Path

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from otel_dbevents.demo import main, run
from otel_dbevents.demo.through_redis import Compared, differing
from tests.demo.running import demo, document
from tests.services.tools import REDIS, require

pytestmark = pytest.mark.newest


def test_the_sidecar_makes_the_same_of_a_whole_run_as_the_application() -> None:
    """Also where the shell's own application ships elsewhere."""
    require(REDIS)
    nobody = {"OTEL_DBEVENTS_BUS_URL": "redis://127.0.0.1:9/0"}
    told = document(demo("--json", "--sidecar", variables=nobody))
    came = told["sidecar"]
    ours = [
        span
        for scene in told["scenes"]
        for span in scene["spans"]
        if span["scope"] == "otel_dbevents"
    ]
    assert came["same"] is True
    assert came["different"] == 0
    assert came["here"]["operations in spans"] >= len(ours)
    assert came["here"] == came["there"]
    assert all(came["here"].values())
    assert came["events"] > came["here"]["operations in the metrics"]
    assert came["bytes"] / came["events"] < 2_048  # a run's entries have few events each


def test_without_a_redis_server_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--sidecar"]) == 2
    told = capsys.readouterr()
    assert "--sidecar needs a redis-server 7.0 or newer on the PATH: apt-get install" in told.err
    assert told.out == ""


def test_a_redis_server_that_does_not_run_is_told_with_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho its disk is full\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert main(["--json", "--sidecar"]) == 2
    told = capsys.readouterr()
    assert "redis-server does not run here: its disk is full" in told.err
    assert told.out == ""


@pytest.mark.parametrize(("there", "different"), [(3, 0), (4, 1)])
def test_what_did_not_come_or_is_another_is_not_the_same(there: int, different: int) -> None:
    here = {"spans": 4}
    assert Compared(9, 1, 900, here, here, 0).same
    assert not Compared(9, 1, 900, here, {"spans": there}, different).same


def spans(*counts: int, trace: bytes = b"1", status: int = 0) -> list[Span]:
    """Return a span for each number: that of the queries it stands for, 0 where it is one alone."""
    return [
        Span(
            trace_id=trace,
            name="SELECT t",
            attributes=[KeyValue(key="dbevents.folded.count", value=AnyValue(int_value=count))]
            if count
            else [],
            status=Status(code=status),  # type: ignore[arg-type, unused-ignore]
        )
        for count in counts
    ]


def test_spans_are_compared_by_all_they_say_and_folded_ones_by_what_they_stand_for() -> None:
    assert differing(spans(0, 0), spans(0, 0)) == 0
    assert differing(spans(0, 0), spans(0)) == 1
    assert differing(spans(0), spans(0, status=2)) == 1
    assert differing(spans(0), spans(0, trace=b"2")) == 2
    assert differing(spans(0, 190), spans(0, 119, 71)) == 0
    assert differing(spans(0, 190), spans(0, 119, 70)) == 1


def test_another_outcome_is_the_commands_status(monkeypatch: pytest.MonkeyPatch) -> None:
    require(REDIS)
    monkeypatch.setattr(run, "as_json", lambda *, beside: not beside)
    assert main(["--json", "--sidecar"]) == 1
    assert main(["--json"]) == 0

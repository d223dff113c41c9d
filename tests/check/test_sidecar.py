"""What `otel-dbevents check --sidecar` says of one."""

import json
from collections.abc import Iterator
from time import monotonic

import pytest

from otel_dbevents import cli
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.check.sidecar import look_at_sidecar
from otel_dbevents.sidecar.looks import Looks
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work
from tests.services.ports import free_ports


@pytest.fixture
def looks() -> Iterator[Looks]:
    url = "redis://127.0.0.1:9/0"
    outlets = Outlets({})
    work = Work(Reader(url, "s", "g"), Tellers("n", (None, None), None), outlets, url)
    work.state.redis = ""
    work.state.beat = monotonic()
    running = Looks(work, "127.0.0.1", 0)
    running.start()
    yield running
    running.stop()
    outlets.close()


def where(looks: Looks) -> str:
    return f"127.0.0.1:{looks.server_address[1]}"


def test_one_that_works_says_what_waits(looks: Looks) -> None:
    looks.work.state.waiting_entries, looks.work.state.held_entries = 7, 3
    [found] = look_at_sidecar(where(looks))
    assert (found.topic, found.status) == ("sidecar", "ok")
    assert found.text == f"at {where(looks)}: 7 entries wait, 3 are in its hands"


def test_one_that_waits_for_the_collector_says_since_when(looks: Looks) -> None:
    state = looks.work.state
    state.collector = "the collector does not take traces"
    state.collector_since, state.held_entries = monotonic() - 100, 50
    [found] = look_at_sidecar(where(looks))
    assert found.status == "wrong"
    assert "for 100 s: the collector does not take traces; 50 entries" in found.text
    assert "mend what it waits for" in found.mend
    numbers = looks.answer("/metrics")[1]
    assert "dbevents_sidecar_collector_down_seconds 100" in numbers
    assert "dbevents_sidecar_held_entries 50" in numbers


def test_where_there_is_none_the_mend_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    (port,) = free_ports(1)
    assert cli.main(["check", "--no-cost", "--json", "--sidecar", f"127.0.0.1:{port}"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    [found] = [each for each in findings if each["topic"] == "sidecar"]
    assert found["status"] == "wrong"
    assert "start it: otel-dbevents sidecar" in found["mend"]

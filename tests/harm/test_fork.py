"""A fork at any moment: the child tells of itself, the parent of what was before, nobody hangs."""

import ast
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.demo import receiver as receivers
from tests.demo.receiver import Receiver, receiving
from tests.harm import busy
from tests.harm.running import ROOT, environment, run
from tests.harm.told import Told
from tests.services.ports import free_ports
from tests.services.postgresql import Postgresql
from tests.services.process import Process, wait_until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

WORKERS = 2
REQUESTS = 30


@pytest.fixture(params=["http/protobuf", "grpc"])
def receiver(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Receiver, dict[str, str]]]:
    # As a collector does, it keeps connections open: two processes must not share one.
    monkeypatch.setattr(receivers.Handler, "protocol_version", "HTTP/1.1")
    begin = receiving
    if request.param == "grpc":
        from tests.harm.grpc_receiver import receiving_grpc as begin
    with begin() as running:
        yield running, sending_to(running, request.param)


def unencrypted(server: Postgresql) -> str:
    """Return the URL of a database whose client has no lock of its own: SQLite's library has.

    A child that is forked while another thread is within SQLite may wait for it for ever, whoever
    looks on.
    """
    return server.url(server.database()) + "?sslmode=disable&gssencmode=disable"


def sending_to(running: Receiver, protocol: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_ENDPOINT": running.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "OTEL_DBEVENTS_FOLD_AFTER": "0",
        "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "10000",
    }


def selected(running: Receiver) -> Counter[str]:
    """How often each `SELECT 1 AS name` was told of, each by a span of its own."""
    spans = list(running.spans)
    assert len({span.span_id for span in spans}) == len(spans)
    texts = [
        attribute.value.string_value
        for span in spans
        for attribute in span.attributes
        if attribute.key == "db.query.text"
    ]
    return Counter(each.rpartition(" ")[2] for each in texts)


@pytest.mark.newest  # on the oldest those below are enough, which fork less often
def test_forked_two_hundred_times_while_busy_each_process_tells_of_its_own_and_once(
    tmp_path, postgresql
):
    rounds = 200
    run("tests.harm.busy", tmp_path / "told", unencrypted(postgresql), rounds)
    told = Told(tmp_path / "told")
    ((parent, executed),) = told.said("executed").items()
    assert told.said("lost") == {parent: {}}
    assert len({(line["trace"], line["span"]) for line in told.spans}) == len(told.spans)
    assert told.queries(busy.PARENTS) == {parent: executed}
    children = {pid: busy.IN_CHILD for pid in told.said("flushed") if pid != parent}
    assert len(children) == rounds
    assert told.queries(busy.CHILDS) == children
    numbers = told.last_numbers()
    assert {numbers.pop(parent)["calls"]} == {executed}
    # Not the parent's connections, nor those who waited there for one.
    assert numbers == {
        pid: {"calls": busy.IN_CHILD, "idle": 1, "used": 0, "pending": 0} for pid in children
    }
    assert all(all(flushed) for flushed in told.said("flushed").values())
    assert set(told.said("errors").values()) == {0}


def test_forked_while_it_exports_both_processes_go_on_exporting(receiver, postgresql):
    running, settings = receiver
    executed = int(run("tests.harm.exporting", unencrypted(postgresql), 15, settings=settings))
    assert selected(running) == {"parent": executed, "child": 15 * 5}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_is_told_of_at_its_end(tmp_path, method):
    with receiving() as running:
        settings = sending_to(running, "http/protobuf")
        url = f"sqlite:///{tmp_path / 'app.db'}"
        codes = run("tests.harm.relatives", method, url, settings=settings)
        assert ast.literal_eval(codes) == [0, 0]
        assert selected(running) == {"parent": 5, "child0": 5, "child1": 5}


@pytest.mark.parametrize("receiver", ["http/protobuf"], indirect=True)
def test_behind_a_preloading_server_each_worker_tells_of_its_own_requests(tmp_path, receiver):
    running, settings = receiver
    (port,) = free_ports(1)
    ask = Asking(f"http://127.0.0.1:{port}/")
    served = gunicorn(tmp_path, port, ask, settings)
    served.start()
    try:
        first = {ask() for _ in range(REQUESTS)}
        assert served._process is not None
        served._process.send_signal(signal.SIGHUP)  # other workers take their place
        wait_until(lambda: ask() not in first, 30)
        for _ in range(REQUESTS):
            ask()
    finally:
        served.stop()
    assert served.exit_status == 0, served.last_words()
    told = selected(running)
    assert told.pop("preloaded") == 1
    assert told == {f"worker{pid}": number for pid, number in ask.answers.items()}


class Asking:
    """Makes requests, and counts which worker answered them."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: Counter[int] = Counter()

    def __call__(self) -> int:
        with urlopen(self.address) as answer:
            worker = int(answer.read())
        self.answers[worker] += 1
        return worker


def gunicorn(directory: Path, port: int, ask: Asking, settings: dict[str, str]) -> Process:
    command: list[str | Path] = [
        sys.executable, "-W", "ignore", "-m", "gunicorn", "--preload", "--workers", str(WORKERS),
        "--bind", f"127.0.0.1:{port}", "--chdir", ROOT, "--no-control-socket",
        "tests.harm.served:application",
    ]  # fmt: skip
    database = {"DATABASE": f"sqlite:///{directory / 'app.db'}"}
    with_all = environment(settings | database)
    return Process("gunicorn", command, directory, lambda: bool(ask()), with_all)

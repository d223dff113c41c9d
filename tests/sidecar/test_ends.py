"""Ends by SIGTERM, with real processes: first it is sent, then it is taken out; nothing is lost."""

import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.signing import Keyring
from tests.demo.receiver import receiving
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.sidecar.rude import rude
from tests.sidecar.running import (
    KEY,
    SOON_S,
    Shop,
    application,
    came,
    counted,
    query_spans,
    settings,
    sidecar,
    told_lost,
)

pytestmark = [pytest.mark.newest, pytest.mark.beside]

APPLICATION = """
import os, signal, sys
import otel_dbevents.auto
from sqlalchemy import create_engine, text

def end(*_):
    os.write(1, b"ending\\n")  # it may have come in the middle of a print
    sys.exit(143)

signal.signal(signal.SIGTERM, end)
engine = create_engine("sqlite://")
with engine.connect() as connection:
    for number in range(int(sys.argv[1])):
        connection.execute(text("SELECT 1")).all()
print("made", flush=True)
signal.pause()
"""
"""Ends by SIGTERM as docs/telemetry.md says that an application should."""
QUERIES = 3_000
MADE = QUERIES + 3
"""Events: the connection is made, checked out and checked in, too."""


def test_a_sidecar_that_is_to_end_sends_what_it_holds_and_then_takes_it_out_of_redis(
    redis: Redis, tmp_path: Path
) -> None:
    stream, admin = redis.stream(), connect(redis.url)
    shop = Shop(redis, stream)
    shop.run(100)
    shop.check()
    shop.end()

    def pending() -> int:
        return int(admin.xpending(stream, "sidecar")["pending"])

    with rude() as receiver:
        held: list[int] = []
        receiver.before_answer = lambda: held.append(pending())
        receiver.fault = "503"
        with sidecar(tmp_path, settings(redis, stream, receiver.endpoint, SOON_S)) as running:
            wait_until(lambda: running.numbers()["export_retries_total"] > 0)
            entries = pending()
            running.process.send(signal.SIGTERM)
            wait_until(lambda: "it is about to end" in running.get("/readyz")[1])
            receiver.fault = ""  # now it may go
            wait_until(lambda: not running.process.running)
        assert running.process.exit_status == 0
        assert set(held) == {entries}  # at each answer, as at the last, all was in its hands still
        assert (entries > 0, pending(), admin.xinfo_groups(stream)[0]["lag"]) == (True, 0, 0)
        assert len(query_spans(receiver)) == counted(receiver) == shop.made
        assert len(receiver.log_events) == shop.records
        assert "stay in Redis" not in running.process.log.read_text()
    admin.close()


def test_what_a_sidecar_could_not_send_before_its_end_stays_and_the_next_one_sends_it(
    redis: Redis, tmp_path: Path
) -> None:
    stream, admin = redis.stream(), connect(redis.url)
    shop = Shop(redis, stream)
    shop.run(100)
    shop.end()
    with rude() as receiver:
        receiver.fault, receiver.only = "503", "metrics"
        told = settings(redis, stream, receiver.endpoint, SOON_S)
        with sidecar(tmp_path, told, "--deadline", "2", name="first") as first:
            wait_until(lambda: first.numbers()["export_retries_total"] > 0)
        assert first.process.exit_status == 0
        assert "stay in Redis, for another" in first.process.log.read_text()
        assert admin.xpending(stream, "sidecar")["pending"] > 0
        assert counted(receiver) == 0
        receiver.fault = ""
        with sidecar(tmp_path, told, "--claim-after", "0.1", name="next") as heir:
            wait_until(lambda: counted(receiver) == shop.made)
            wait_until(lambda: admin.xpending(stream, "sidecar")["pending"] == 0)
            assert not [name for name in heir.numbers() if "lost" in name]
        # The spans had been taken before: they come again as the same ones.
        assert len(query_spans(receiver)) == shop.made
        assert came(receiver, times=2)
    admin.close()


@pytest.mark.parametrize("opens", [True, False])
def test_an_application_that_is_to_end_has_redis_take_what_waits_or_tells_that_it_is_lost(
    redis: Redis, opens: bool
) -> None:
    stream, admin = redis.stream(), connect(redis.url)
    name = f"of-{stream}"
    user: Any = partial(admin.execute_command, "ACL", "SETUSER", name)
    user("reset", "on", ">Xq7ends", "~*", "+@all", "-xadd")
    with receiving() as receiver:
        told = settings(redis, stream, receiver.endpoint) | {
            "OTEL_DBEVENTS_BUS_URL": redis.url.replace("//:Xq7redis@", f"//{name}:Xq7ends@"),
            "OTEL_DBEVENTS_ENVIRONMENT": "production",
            # The last fifth is for the numbers that tell what was lost.
            "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "60000" if opens else "5000",
            "OTEL_METRICS_EXPORTER": "otlp",
        }
        started = application(told, QUERIES, APPLICATION)
        assert started.stdout is not None
        assert started.stdout.readline() == "made\n"
        assert admin.xlen(stream) == 0
        started.send_signal(signal.SIGTERM)
        assert started.stdout.readline() == "ending\n"
        if opens:
            user("+xadd")
        _, said = started.communicate(timeout=100)
        assert started.returncode == 143
        lost = told_lost(receiver)
    reader = Reader(redis.url, stream, "sidecar", keys=Keyring(KEY))
    entries = [held.entry for held in reader.read(100, 0)]
    reader.close()
    assert (sum(each.count for each in entries), lost) == ((MADE, 0) if opens else (0, MADE))
    if opens:  # and the last says how far it came
        assert (entries[-1].first, entries[-1].count) == (MADE, 0)
    assert ("what Redis has not taken" in said) is not opens
    admin.execute_command("ACL", "DELUSER", name)
    admin.close()

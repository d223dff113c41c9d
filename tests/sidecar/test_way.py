"""The whole way with real processes: application, Redis, sidecar, a receiver of OTLP."""

from pathlib import Path

from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.events import Environment, QueryExecuted
from tests.demo.receiver import receiving
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.sidecar.running import (
    KEY,
    application,
    came,
    counted,
    finished,
    query_spans,
    settings,
    sidecar,
)


def test_what_an_application_ships_arrives_as_its_own_and_once(
    redis: Redis, tmp_path: Path
) -> None:
    stream = redis.stream()
    with receiving() as receiver:
        told = settings(redis, stream, receiver.endpoint)
        with sidecar(tmp_path, told) as running:
            assert finished(application(told, 300)) == "made\n"
            wait_until(lambda: len(query_spans(receiver)) == 300)
            wait_until(lambda: counted(receiver) == 300)
            wait_until(lambda: running.numbers()["lag_entries"] == 0)
            assert running.get("/readyz") == (200, "ok\n")
            assert running.get("/elsewhere")[0] == 404
            numbers = running.numbers()
            assert numbers["events_read_total"] == numbers["events_handled_total"]
            assert not [name for name in numbers if "lost" in name or "dead" in name]
        assert running.process.exit_status == 0
        assert came(receiver)
        assert receiver.services == {"shop"}
        assert "Xq7" not in running.process.log.read_text()


def test_in_production_an_application_that_has_a_redis_ships_and_tells_nothing_itself(
    redis: Redis,
) -> None:
    stream = redis.stream()
    with receiving() as receiver:
        told = settings(redis, stream, receiver.endpoint) | {
            "OTEL_DBEVENTS_ENVIRONMENT": "production",
            "OTEL_TRACES_EXPORTER": "otlp",
        }
        assert finished(application(told, 20)) == "made\n"
        named = {span.name for span in receiver.spans}
    reader = Reader(redis.url, stream, "sidecar", keys=Keyring(KEY))
    events = [event for held in reader.read(100, 0) for event in held.events]
    reader.close()
    queries = [event for event in events if isinstance(event, QueryExecuted)]
    assert len(queries) == 20
    assert {event.database.environment for event in queries} == {Environment.PRODUCTION}
    assert named == {"work"}  # the application's own: the sidecar is to make the rest

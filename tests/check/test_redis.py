"""What `otel-dbevents check` says of the Redis that the bus is on."""

from collections.abc import Iterator

import pytest

from otel_dbevents.bus.redis import connecting
from otel_dbevents.bus.redis.connecting import RedisSetupError, connect
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.check.redis import look_at_bus
from otel_dbevents.check.report import Finding
from otel_dbevents.config import Config
from tests.bus.contract import checked
from tests.services.ports import free_ports
from tests.services.redis import Redis

KEY = "Xq7 a key of the tests, long enough"


def look(url: str, stream: str = "events", key: str | None = KEY) -> list[Finding]:
    return list(look_at_bus(Config(bus_url=url, stream=stream, signing_key=key)))


@pytest.fixture
def stream(redis: Redis) -> Iterator[str]:
    name = redis.stream()
    sender, reader = Sender(redis.url, name), Reader(redis.url, name, "sidecar")
    sender.consume([(checked(1), None)])
    sender.finish(30)
    reader.read(10, 0)
    yield name
    reader.reconnect()


def test_the_bus_in_memory_is_not_worth_a_word() -> None:
    assert list(look_at_bus(Config())) == []


def test_a_redis_that_is_read_is_well(redis: Redis, stream: str) -> None:
    found = look(redis.url, stream)
    assert [each.status for each in found] == ["ok", "ok"]
    assert found[0].text == f"Redis at redis://127.0.0.1:{redis.port} answers"
    assert found[1].text == f"sidecar reads {stream}: 2 entries wait"


def test_a_stream_that_nobody_reads_is_warned_of(redis: Redis) -> None:
    [_, found] = look(redis.url, redis.stream())
    assert (found.status, found.mend) == ("warning", "start one: otel-dbevents sidecar")
    assert "no sidecar has ever read" in found.text


def test_entries_without_a_signature_and_dead_letters_are_warned_of(
    redis: Redis, stream: str
) -> None:
    reader = Reader(redis.url, stream, "strict", require_signature=True)
    reader.read(10, 0)
    reader.close()
    said = {each.text: each for each in look(redis.url, stream, None) if each.status == "warning"}
    assert "2 entries are in the dead letters" in said
    assert "entries are not signed: who can write may lie" in said
    assert "nobody reads for strict: 0 entries wait" in said


def test_a_group_that_is_late_and_a_handler_that_nobody_runs_are_warned_of(
    redis: Redis, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otel_dbevents.check.redis._LATE_S", -1.0)
    client = connect(redis.url)
    client.xgroup_create(stream, "handler:mail", "0")
    client.close()
    said = {each.text.split(":")[0]: each for each in look(redis.url, stream)}
    assert said["sidecar is late"].status == "warning"
    assert "otel-dbevents check --sidecar" in said["sidecar is late"].mend
    handler = said["nobody reads for handler"]
    assert handler.text.startswith("nobody reads for handler:mail: 2 entries wait")
    assert f"XGROUP DESTROY {stream} handler:mail" in handler.mend


@pytest.mark.parametrize(
    ("url", "text", "mend"),
    [
        ("redis://:Xq7wrong@127.0.0.1:{port}/0", "refuses the password", "correct user"),
        ("redis://127.0.0.1:{port}/0", "wants a password", "put it into the URL"),
        ("redis://:Xq7wrong@127.0.0.1:{free}/0", "cannot be reached", "start it"),
        ("redis://:Xq7wrong@127.0.0.1:{port}/0?socket_timeout=soon", "as it is written", "check"),
    ],
)
def test_what_is_wrong_comes_with_its_mend(redis: Redis, url: str, text: str, mend: str) -> None:
    (free,) = free_ports(1)
    [found] = look(url.format(port=redis.port, free=free))
    assert found.status == "wrong"
    assert text in found.text
    assert mend in found.mend
    assert "Xq7" not in found.text + found.mend


def test_an_old_redis_is_said_to_be_old(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connecting, "OLDEST", (99, 0))
    [found] = look(redis.url)
    assert "7.0 or newer is needed" in found.mend + found.text
    reader = Reader(redis.url, redis.stream(), "sidecar")
    with pytest.raises(RedisSetupError, match="or newer is needed"):
        reader.read(1, 0)
    reader.reconnect()

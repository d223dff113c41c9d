"""Whatever is wrong around the bus is said with its mend, at the start where it can be known."""

import logging
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from otel_dbevents import Config, ConfigError
from otel_dbevents.bus.redis import connecting
from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.entries import Entry, pack_all
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.events import QueryExecuted
from otel_dbevents.exporters.otlp_http import HttpSpanExporter
from otel_dbevents.sidecar.outlets import Outlets, mend_of
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work
from tests.bus.contract import checked
from tests.demo.receiver import receiving
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.sidecar.running import DATABASE, STATEMENT

KEY = "Xq7 a key of the tests, long enough"

SETTINGS = [
    ({"bus_url": "http://127.0.0.1:6379"}, "bus_url takes memory://, redis://host:6379/0"),
    ({"bus_url": "redis://"}, "bus_url takes memory://"),
    ({"bus_url": "unix://"}, "bus_url takes memory://"),
    ({"signing_key": "Xq7short"}, "signing_key takes a text of 16 bytes or more"),
    (
        {"signing_key_previous": KEY},
        "signing_key_previous is set, but OTEL_DBEVENTS_SIGNING_KEY is not",
    ),
    ({"stream": "a b"}, "stream takes a name of letters"),
    ({"bus_url": "redis://h/0", "synchronous": True}, "turn synchronous off, or set bus_url"),
]
"""What is wrong by itself is refused when the settings are read."""


@pytest.mark.parametrize(("given", "words"), SETTINGS)
def test_wrong_settings_are_refused_at_the_start(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config(**given)
    assert words in str(caught.value)
    assert "Xq7" not in str(caught.value)


ANSWERS = [
    ("", "start it, or name another"),
    ("UNAVAILABLE", "start it, or name another"),
    ("403", "correct OTEL_EXPORTER_OTLP_HEADERS"),
    ("UNAUTHENTICATED", "correct OTEL_EXPORTER_OTLP_HEADERS"),
    ("404", "correct OTEL_EXPORTER_OTLP_ENDPOINT or _PROTOCOL"),
    ("307", "correct OTEL_EXPORTER_OTLP_ENDPOINT or _PROTOCOL"),
    ("503", "it has too much to do, or what is behind it is away"),
    ("RESOURCE_EXHAUSTED", "it has too much to do"),
]


@pytest.mark.parametrize(("code", "mend"), ANSWERS)
def test_each_answer_of_a_collector_has_a_mend(code: str, mend: str) -> None:
    assert mend in mend_of(code)


def test_what_a_collector_answers_is_said_with_its_mend_and_when_it_takes_again(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    sender = Sender(redis.url, redis.stream())
    with receiving(401) as receiver:
        exporter = HttpSpanExporter(endpoint=f"{receiver.endpoint}/v1/traces", timeout=60)
        outlets = Outlets({"traces": [exporter]})
        reader = Reader(redis.url, sender._stream, "sidecar")
        work = Work(reader, Tellers("n", (None, None), None), outlets, redis.url)
        thread = threading.Thread(target=work.run)
        thread.start()
        query = QueryExecuted(DATABASE, None, time.time_ns(), 1_000_000, STATEMENT)
        sender.consume([(query, None)])
        try:
            why = "the collector does not take traces (401)"
            wait_until(lambda: work.state.collector == why)
            since = work.state.collector_since
            wait_until(lambda: work.state.retries >= 2)
            assert work.state.collector_since == since > 0
            receiver.status = 200
            wait_until(lambda: work.counts.handled == 1)
            assert work.state.collector_since == 0
        finally:
            work.stop(5)
            thread.join(60)
            sender.finish(1)
            outlets.close()
            exporter.shutdown()
    [said] = [each for each in caplog.messages if why in each]
    assert "correct OTEL_EXPORTER_OTLP_HEADERS" in said
    assert [each for each in caplog.messages if "the collector takes again, after" in each]


class NoRedis(socketserver.BaseRequestHandler):
    """Answers as a web server does."""

    def handle(self) -> None:
        self.request.recv(1024)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.fixture(scope="module")
def stranger() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), NoRedis) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


SERVERS: list[tuple[str, str, str]] = [
    ("redis://127.0.0.1:{free}/0", "cannot be reached", "start it, or correct"),
    ("redis://:Xq7wrong@127.0.0.1:{port}/0", "refuses the password", "correct user and password"),
    ("redis://who:Xq7redis@127.0.0.1:{port}/0", "refuses the password", "correct user"),
    ("redis://127.0.0.1:{port}/0", "wants a password", "put it into the URL"),
    ("redis://:Xq7redis@127.0.0.1:{port}/999", "has no database of that number", "the number"),
    ("redis://:Xq7redis@127.0.0.1:{stranger}/0", "is no Redis", "correct host and port"),
    (
        "redis://:Xq7redis@127.0.0.1:{port}/0?no=Xq7",
        "cannot be used as it is written",
        "the URL's options",
    ),
    (
        "redis://only:Xq7only@127.0.0.1:{port}/0",
        "the user may not do that (",
        "deploy/redis/users.acl",
    ),
]


@pytest.mark.swallows
@pytest.mark.parametrize(("url", "what", "mend"), SERVERS)
def test_a_server_that_cannot_be_used_is_said_once_and_tried_again(
    redis: Redis, stranger: int, caplog: pytest.LogCaptureFixture, url: str, what: str, mend: str
) -> None:
    admin = connect(redis.url)
    admin.execute_command("ACL", "SETUSER", "only", "on", ">Xq7only", "~*", "-@all", "+ping")
    (free,) = free_ports(1)
    url = url.format(free=free, port=redis.port, stranger=stranger)
    stream = redis.stream()
    caplog.set_level(logging.INFO)
    outlets = Outlets({})
    work = Work(Reader(url, stream, "sidecar"), Tellers("n", (None, None), None), outlets, url)
    thread = threading.Thread(target=work.run)
    thread.start()
    sender = Sender(url, stream)
    shipping = threading.Thread(target=sender.consume, args=([(checked(1), None)],))
    shipping.start()
    try:
        wait_until(lambda: what in work.state.redis and what in sender.trouble)
        before = work.state.beat
        wait_until(lambda: work.state.beat > before)  # it goes on trying
    finally:
        sender.finish(0)
        work.stop(0)
        for each in (thread, shipping):
            each.join(60)
        outlets.close()
    admin.execute_command("ACL", "DELUSER", "only")
    admin.close()
    said = [text for text in caplog.messages if what in text]
    assert len(said) == 2  # one line from each
    assert all(mend in text for text in said)
    assert "Xq7" not in caplog.text
    assert sender.lost == {"shutdown": 1}


def test_tls_where_the_server_knows_none_is_thought_of(redis: Redis) -> None:
    url = f"rediss://:Xq7redis@127.0.0.1:{redis.port}/0"
    client = connect(url, timeout=0.2)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the package's own
        client.ping()
    what, mend = connecting.explained(caught.value, url)
    assert what.endswith("does not answer in time")
    assert "knows no TLS: then redis://" in mend
    client.close()


def test_an_old_redis_is_named_with_what_is_needed(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "OLDEST", (99, 0))
    reader = Reader(redis.url, redis.stream(), "sidecar")
    with pytest.raises(connecting.RedisSetupError, match=r"is \d.*: .*or newer is needed"):
        reader.read(1, 0)
    reader.reconnect()


def test_a_key_of_another_kind_is_named(redis: Redis) -> None:
    client, stream = connect(redis.url), redis.stream()
    client.set(stream, "somebody else's")
    reader = Reader(redis.url, stream, "sidecar")
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the package's own
        reader.read(1, 0)
    what, mend = connecting.explained(caught.value, redis.url)
    assert what.endswith("the key is no stream")
    assert "OTEL_DBEVENTS_STREAM" in mend
    assert client.get(stream) == b"somebody else's"
    reader.reconnect()
    client.close()


def test_a_group_that_is_missing_is_made_again(redis: Redis) -> None:
    stream, client = redis.stream(), connect(redis.url)
    sender, reader = Sender(redis.url, stream), Reader(redis.url, stream, "sidecar")
    sender.consume([(checked(1), None)])
    assert len(reader.read(10, 0)) == 1
    client.xgroup_destroy(stream, "sidecar")
    assert reader.read(10, 0) == []
    assert len(reader.read(10, 0)) in (0, 1)
    sender.consume([(checked(2), None)])
    found = reader.read(10, 0)
    assert [event.latency_ms for each in found for event in each.events][-1] == 2  # type: ignore[attr-defined]
    sender.finish(1)
    reader.reconnect()
    client.close()


def entry(**changed: Any) -> Entry:
    [(count, body)] = pack_all([checked(1)])
    said = {"sent_ns": time.time_ns(), "body": body, **changed}
    return Entry("app", "1", 0, count, said["sent_ns"], b"", said["body"])


def of_a_type_that_nobody_knows() -> bytes:
    [(_, body)] = pack_all([checked(1)])
    return body.replace(b"DatabaseHealthCheckCompleted", b"DatabaseHealthCheckImagined_")


Put = Callable[[Any, str], object]
ENTRIES: list[tuple[str, str, Put]] = [
    ("malformed", "has somebody else this stream", lambda c, s: c.xadd(s, {"order": "Xq7"})),
    ("version", "update the sidecar", lambda c, s: c.xadd(s, {"v": "3", "p": "Xq7"})),
    ("unsigned", "give the application OTEL_DBEVENTS_SIGNING_KEY", lambda c, s: put(c, s, None)),
    ("unknown_key", "give both sides one", lambda c, s: put(c, s, Keyring("Xq7 of a stranger"))),
    ("stale", "a clock that is wrong", lambda c, s: put(c, s, Keyring(KEY), sent_ns=1)),
    (
        "undecodable",
        "update the sidecar",
        lambda c, s: put(c, s, Keyring(KEY), body=of_a_type_that_nobody_knows()),
    ),
    ("malformed", "no entry of ours", lambda c, s: put(c, s, Keyring(KEY), body=b"\xc1")),
    ("signature", "find out who can write", lambda c, s: put(c, s, Keyring(KEY), stream="other")),
]


def put(client: Any, name: str, keys: Keyring | None, stream: str = "", **changed: Any) -> None:
    fields = entry(**changed).fields(stream or name, keys)
    client.execute_command("XADD", name, "*", *fields)


@pytest.mark.parametrize(("reason", "mend", "write"), ENTRIES)
def test_what_is_no_entry_for_us_is_said_once_with_the_mend_and_does_not_stop_the_rest(
    redis: Redis, caplog: pytest.LogCaptureFixture, reason: str, mend: str, write: Put
) -> None:
    client, stream = connect(redis.url), redis.stream()
    reader = Reader(redis.url, stream, "sidecar", keys=Keyring(KEY))
    for _ in range(20):
        write(client, stream)
    sender = Sender(redis.url, stream, keys=Keyring(KEY))
    sender.consume([(checked(9), None)])
    found = reader.read(100, 0)
    assert [event.latency_ms for each in found for event in each.events] == [9]  # type: ignore[attr-defined]
    assert reader.counts.dead_letters[reason] > 0
    said = [text for text in caplog.messages if "went to the dead letters" in text]
    assert len(said) == 1
    assert mend in said[0]
    assert "Xq7" not in caplog.text
    sender.finish(1)
    reader.reconnect()
    client.close()


@pytest.mark.parametrize("environment", ["production", "local"])
def test_a_redis_url_is_used_in_production_too(environment: str) -> None:
    config = Config(environment=environment, bus_url="redis://localhost:6379/0")  # type: ignore[arg-type]
    assert config.ships
    assert not Config(environment=environment).ships  # type: ignore[arg-type]

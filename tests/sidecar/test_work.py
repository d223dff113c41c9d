"""The sidecar's loop: what cannot be told does not hold up the rest."""

import threading
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.dead import DeadLetters
from otel_dbevents.bus.redis.entries import Entry
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.codec import encode
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work
from tests.bus import singles
from tests.bus.contract import checked
from tests.demo.receiver import receiving
from tests.services.process import wait_until
from tests.services.redis import Redis
from tests.sidecar.running import told_lost


class Faulty(Tellers):
    """Cannot tell of one producer."""

    wrong = ""

    def _of(self, entry: Any) -> Any:
        if entry.producer == self.wrong:
            raise RuntimeError("a fault of ours")
        return super()._of(entry)


@pytest.mark.swallows
def test_an_entry_that_cannot_be_told_is_a_dead_letter_and_comes_back(redis: Redis) -> None:
    stream = redis.stream()
    good, bad = Sender(redis.url, stream), Sender(redis.url, stream)
    tellers = Faulty("test", (None, None), None)
    tellers.wrong = bad.producer
    reader = Reader(redis.url, stream, "sidecar")
    work = Work(reader, tellers, Outlets({}), redis.url)
    for sender in (good, bad, good):
        sender.consume([(checked(1), None), (checked(2), None)])
    thread = threading.Thread(target=work.run, daemon=True)
    thread.start()
    client = connect(redis.url)
    letters = DeadLetters(client, stream)
    try:
        wait_until(lambda: work.counts.handled == 4 and len(list(letters.all())) == 1)
        [letter] = letters.all()
        assert (letter.reason, letter.stage, letter.events) == ("telling", "tell", 2)
        assert (letter.group, work.counts.lost) == ("sidecar", {"rejected": 2})
        tellers.wrong = ""
        letters.retry(letter)
        wait_until(lambda: work.counts.again == 2)
        assert work.counts.lost == {"rejected": 2}
    finally:
        work.stop(5)
        thread.join(60)
        for sender in (good, bad):
            sender.finish(1)
        client.close()


def test_what_is_in_the_dead_letters_is_told_as_lost_by_its_application(redis: Redis) -> None:
    stream, admin = redis.stream(), connect(redis.url)
    bodies = [encode(checked(1)), b"\x81\xaaevent_type\xa7Unknown"]
    for first, count, body in ((0, 2, singles.body_of(bodies)), (2, 5, b"\xc1")):
        made = Entry("app", "1", first, count, 1, b"", body, version=singles.VERSION)
        admin.execute_command("XADD", stream, "*", *made.fields(stream, None))
    with receiving() as receiver:
        exporter = OTLPMetricExporter(endpoint=f"{receiver.endpoint}/v1/metrics")
        outlets = Outlets({"metrics": [exporter]})
        reader = Reader(redis.url, stream, "sidecar")
        work = Work(reader, Tellers("t", (None, None), None), outlets, redis.url)
        thread = threading.Thread(target=work.run, daemon=True)
        thread.start()
        try:
            wait_until(lambda: told_lost(receiver) == 6, why=lambda: str(work.counts))
        finally:
            work.stop(5)
            thread.join(60)
        assert told_lost(receiver) == 6
        assert work.counts.lost == {"rejected": 6}
        assert work.counts.handled == 1
        outlets.abort()
        outlets.close()
    admin.close()


class Ending(Tellers):
    """Is told to end in the moment when there is something to tell."""

    def tell(self, those: Any) -> Any:
        self.stop()
        return super().tell(those)

    stop = staticmethod(lambda: None)


def test_what_was_read_when_the_end_came_is_sent_and_taken_out_before_it(redis: Redis) -> None:
    stream = redis.stream()
    sender, tellers = Sender(redis.url, stream), Ending("test", (None, None), None)
    sender.consume([(checked(1), None), (checked(2), None)])
    work = Work(Reader(redis.url, stream, "s"), tellers, Outlets({}), redis.url)
    tellers.stop = lambda: work.stop(5)  # type: ignore[method-assign]
    work.run()
    assert (work.counts.read, work.counts.handled, work.state.held_entries) == (2, 2, 0)
    sender.finish(1)


@pytest.mark.swallows
def test_what_was_read_is_told_though_a_look_at_the_stream_fails_in_that_moment(
    redis: Redis,
) -> None:
    stream, admin = redis.stream(), connect(redis.url)
    # Each second a look fails, since this user may not look.
    admin.execute_command("ACL", "SETUSER", "blind", "on", ">Xq7b", "~*", "+@all", "-xinfo|groups")
    url = redis.url.replace(":Xq7redis@", "blind:Xq7b@")
    sender = Sender(redis.url, stream)
    work = Work(Reader(url, stream, "s"), Tellers("t", (None, None), None), Outlets({}), url)
    sender.consume([(checked(number), None) for number in range(500)])
    thread = threading.Thread(target=work.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: work.counts.handled == 500)
    finally:
        work.stop(5)
        thread.join(60)
        sender.finish(1)
        admin.execute_command("ACL", "DELUSER", "blind")
        admin.close()


def test_what_was_read_comes_again_where_redis_fails_before_the_reader_hands_it_on(
    redis: Redis,
) -> None:
    stream, admin = redis.stream(), connect(redis.url)
    sender, reader = Sender(redis.url, stream), Reader(redis.url, stream, "s")
    sender.consume([(checked(1), None)])
    reader.commit(reader.read(10, 0))
    [(_, fields)] = admin.xrange(stream)
    admin.xadd(stream, fields)  # it comes twice, and is acknowledged at once
    sender.consume([(checked(2), None)])
    admin.execute_command("ACL", "SETUSER", "default", "-xack")
    try:
        with pytest.raises(Exception, match="permission"):
            reader.read(10, 0)
    finally:
        admin.execute_command("ACL", "SETUSER", "default", "+xack")
    reader.reconnect()
    assert sum(len(each.events) for each in reader.read(10, 0)) == 1
    sender.finish(1)
    reader.reconnect()
    admin.close()

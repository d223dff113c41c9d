"""From a sender to a reader over a real Redis: each event is delivered once or counted, exactly."""

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis as client_package
from msgspec.structs import force_setattr

from otel_dbevents.bus.memory import MemoryBus
from otel_dbevents.bus.redis.connecting import (
    Backoff,
    RedisSetupError,
    check_version,
    connect,
    explained,
    where,
)
from otel_dbevents.bus.redis.entries import Entry, pack_all
from otel_dbevents.bus.redis.reader import Held, Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.codec import encode
from otel_dbevents.events import Event
from tests.bus import singles
from tests.bus.contract import PATIENCE, checked, in_child
from tests.services.ports import free_ports
from tests.services.process import wait_until
from tests.services.proxy import proxy
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis

KEYS = Keyring("a key of the tests, long enough")


class Way:
    """A stream of its own, with senders at one end and readers at the other."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.stream = server.stream()
        self.client: Any = connect(server.url)
        self.senders: list[Sender] = []
        self.readers: list[Reader] = []

    def sender(self, **options: Any) -> Sender:
        self.senders.append(Sender(self.server.url, self.stream, **options))
        return self.senders[-1]

    def reader(self, **options: Any) -> Reader:
        self.readers.append(Reader(self.server.url, self.stream, "group", **options))
        return self.readers[-1]

    def dead(self) -> list[dict[bytes, bytes]]:
        return [fields for _, fields in self.client.xrange(f"{self.stream}:dead")]

    def entries(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        return list(self.client.xrange(self.stream))

    def close(self) -> None:
        for each in self.readers:
            each.reconnect()
        for sender in self.senders:
            sender.finish(0)
        self.client.close()


@pytest.fixture
def way(redis: Redis) -> Iterator[Way]:
    made = Way(redis)
    yield made
    made.close()


def send(sender: Sender, first: int, count: int) -> list[Event]:
    events: list[Event] = [checked(first + n) for n in range(count)]
    sender.consume([(event, None) for event in events])
    return events


def send_in_vain(sender: Sender) -> None:
    """Have it try to send an event until that failed, and give it up then."""
    trying = threading.Thread(target=send, args=(sender, 0, 1))
    trying.start()
    try:
        wait_until(lambda: sender.trouble != "")
    finally:
        sender.finish(0)
        trying.join()


def take(reader: Reader, *, commit: bool = True) -> list[Held]:
    """Read all there is, and commit it in one."""
    found: list[Held] = []
    while batch := reader.read(100, 0):
        found += batch
    if commit:
        reader.commit(found)
    return found


def numbers(held: Sequence[Held]) -> list[float]:
    return [event.latency_ms for each in held for event in each.events]  # type: ignore[attr-defined]


def test_events_come_packed_in_order_and_once(way: Way) -> None:
    sender, reader = way.sender(source=lambda: b"who", keys=KEYS), way.reader(keys=KEYS)
    sent = send(sender, 0, 512) + send(sender, 512, 3)
    assert sender.finish(PATIENCE)
    assert len(way.entries()) == 6 + 1 + 1  # the last says how far the producer came
    held = take(reader)
    assert [event for each in held for event in each.events] == sent
    assert {each.entry.source for each in held} == {b"who"}
    assert reader.settle() == {}
    assert (reader.counts.read, reader.counts.handled, sender.shipped) == (515, 515, 515)
    assert take(way.reader(keys=KEYS)) == []
    assert reader.lag() == (0, 0.0)
    # What is told a second time is known for longer than a copy is young enough to be taken.
    assert way.client.ttl(reader._ledger._key(held[0].entry.line)) > 2 * 86_400


def test_what_a_dead_reader_held_is_taken_over_and_comes_once(way: Way) -> None:
    send(way.sender(), 0, 300)
    dead = way.reader()
    assert numbers(take(dead, commit=False)) == [*range(300)]
    heir = way.reader(claim_after_s=0.0)
    assert numbers(take(heir)) == [*range(300)]
    dead.commit([])
    assert heir.settle() == {}
    assert take(way.reader(claim_after_s=0.0)) == []


def test_what_is_renewed_is_not_taken_over(way: Way) -> None:
    send(way.sender(), 0, 10)
    one = way.reader()
    [held] = take(one, commit=False)

    def let_it_age() -> None:
        member = one._group.member
        way.client.xclaim(way.stream, "group", member, 0, [held.id], idle=120_000, justid=True)

    let_it_age()
    one.renew()
    assert way.reader(claim_after_s=60).read(10, 0) == []
    assert one.holds_all()
    let_it_age()
    assert numbers(way.reader(claim_after_s=60).read(10, 0)) == [*range(10)]
    assert not one.holds_all()


def test_an_answer_that_was_lost_is_asked_for_again(way: Way) -> None:
    send(way.sender(), 0, 10)
    reader = way.reader()
    reader.join()
    way.client.xreadgroup("group", reader._group.member, {way.stream: ">"})
    assert numbers(take(reader)) == [*range(10)]
    assert reader.settle() == {}


def test_what_was_handled_and_comes_again_is_not_handed_on(way: Way) -> None:
    sender, reader = way.sender(keys=KEYS), way.reader(keys=KEYS)
    send(sender, 0, 150)
    take(reader)
    for _, fields in way.entries():
        way.client.xadd(way.stream, fields)  # sent again after an answer that never came
    for same in (reader, way.reader(keys=KEYS)):
        assert take(same) == []
        assert same.settle() == {}
    assert reader.counts.duplicates == 150
    assert reader.lag() == (0, 0.0)


def test_what_is_sent_twice_before_it_is_handled_comes_once(way: Way) -> None:
    send(way.sender(), 0, 150)
    for _, fields in way.entries():
        way.client.xadd(way.stream, fields)
    reader = way.reader()
    assert numbers(take(reader)) == [*range(150)]
    assert reader.settle() == {}


def test_an_entry_that_redis_lost_is_counted_to_the_event_and_once(way: Way) -> None:
    sender = way.sender()
    for number in range(5):
        send(sender, number * 10, 10)
    for _ in range(2):
        way.client.xdel(way.stream, way.entries()[1][0])
    one, other = way.reader(), way.reader()
    held = one.read(1, 0)
    held += other.read(100, 0)
    assert numbers(held) == [*range(10), *range(30, 50)]
    other.commit(held[1:])
    assert other.settle() == {}  # the first may still be in somebody's hands
    one.commit(held[:1])
    losses = [other.settle(), one.settle()]
    assert [dict(counts) for each in losses for counts in each.values()] == [{"gap": 20}]
    assert sum(sum(each.counts.lost.values()) for each in (one, other)) == 20


def test_a_reader_that_comes_after_knows_what_was_settled_before(way: Way) -> None:
    sender = way.sender()
    send(sender, 0, 10)
    take(one := way.reader())
    one.settle()
    send(sender, 10, 10)
    way.client.xdel(way.stream, way.entries()[-1][0])
    send(sender, 20, 10)
    take(other := way.reader())
    assert [dict(counts) for counts in other.settle().values()] == [{"gap": 10}]


def test_what_was_trimmed_before_anybody_read_it_is_counted_as_that(way: Way) -> None:
    sender = way.sender(most_entries=1)
    for number in range(400):  # Redis trims whole nodes, of 100 entries each
        send(sender, number * 3, 3)
    reader = way.reader()
    got = take(reader)
    [lost] = reader.settle().values()
    assert set(lost) == {"trimmed"}
    assert len(numbers(got)) + lost["trimmed"] == 1_200
    assert lost["trimmed"] > 0


def test_the_stream_is_cut_at_ten_thousand_entries_where_nobody_says_otherwise(way: Way) -> None:
    pipe = way.client.pipeline(transaction=False)
    for _ in range(10_250):
        pipe.xadd(way.stream, {"hello": "world"})
    pipe.execute()
    send(way.sender(), 0, 1)
    assert 10_000 <= way.client.xlen(way.stream) <= 10_100  # Redis cuts whole nodes
    way.client.delete(way.stream)


def test_how_much_waits_is_said_of_what_was_read_and_of_what_was_not(way: Way) -> None:
    sender, reader = way.sender(), way.reader()
    for number in range(5):
        send(sender, number, 1)
    assert reader.read(2, 0)
    entries, age = reader.lag()
    assert entries == 5
    assert 0 <= age < PATIENCE


def test_the_last_that_is_lost_is_known_when_the_producer_ends(way: Way) -> None:
    sender = way.sender()
    send(sender, 0, 10)
    send(sender, 10, 7)
    way.client.xdel(way.stream, way.entries()[-1][0])
    assert sender.finish(PATIENCE)
    take(reader := way.reader())
    assert [dict(counts) for counts in reader.settle().values()] == [{"gap": 7}]


@pytest.mark.parametrize("field", [b"d", b"g", b"s", b"r"])
def test_an_altered_entry_is_a_dead_letter_and_its_events_are_counted(
    way: Way, field: bytes
) -> None:
    sender, reader = way.sender(keys=KEYS), way.reader(keys=KEYS)
    send(sender, 0, 10)
    send(sender, 10, 10)
    id_, fields = way.entries()[1]
    way.client.xdel(way.stream, id_)
    way.client.xadd(way.stream, {**fields, field: fields[field] + b"1"})
    send(sender, 20, 10)
    held = take(reader)
    assert numbers(held) == [*range(10), *range(20, 30)]
    [counts] = reader.settle().values()
    assert sum(counts.values()) == 10
    assert counts == {"rejected": 10} or field == b"s"
    [dead] = way.dead()
    assert dead[b"reason"] == b"signature"
    assert reader.lag() == (0, 0.0)


def test_foreign_entries_are_dead_letters_and_the_stream_goes_on(way: Way) -> None:
    sender, reader = way.sender(keys=KEYS), way.reader(keys=KEYS)
    stranger = way.sender(keys=Keyring("the key of a stranger to us"))
    send(sender, 0, 1)
    send(stranger, 0, 1)
    send(way.sender(), 0, 1)
    way.client.xadd(way.stream, {"hello": "world"})
    way.client.xadd(way.stream, {"v": "3", "p": "a newer one"})
    send(sender, 1, 1)
    assert numbers(take(reader)) == [0, 1]
    assert reader.settle() == {}
    reasons = [dead[b"reason"].decode() for dead in way.dead()]
    assert reasons == ["unknown_key", "unsigned", "malformed", "version"]
    assert dict(reader.counts.dead_letters) == dict.fromkeys(reasons, 1)


def test_an_entry_that_was_kept_for_more_than_a_day_is_a_replay(way: Way) -> None:
    [(count, body)] = pack_all([checked(1)])
    old = Entry("app", "1", 0, count, time.time_ns() - 90_000 * 10**9, b"", body)
    way.client.execute_command("XADD", way.stream, "*", *old.fields(way.stream, KEYS))
    assert take(way.reader(keys=KEYS)) == []
    assert [dead[b"reason"] for dead in way.dead()] == [b"stale"]


def test_an_event_that_cannot_be_read_is_a_dead_letter_and_the_others_come(way: Way) -> None:
    bodies = [encode(checked(1)), b"\x81\xaaevent_type\xa7Unknown", encode(checked(2))]
    body, count = singles.body_of(bodies), len(bodies)
    entry = Entry("app", "1", 0, count, time.time_ns(), b"", body, version=singles.VERSION)
    way.client.execute_command("XADD", way.stream, "*", *entry.fields(way.stream, None))
    entry = Entry("app", "1", count, 2, time.time_ns(), b"", b"\xc1")
    way.client.execute_command("XADD", way.stream, "*", *entry.fields(way.stream, None))
    reader = way.reader()
    assert numbers(take(reader)) == [1, 2]
    assert reader.settle() == {}
    assert reader.counts.lost == {"rejected": 3}
    assert sorted(dead[b"reason"] for dead in way.dead()) == [b"malformed", b"undecodable"]


def half_readable(way: Way) -> None:
    """Put an entry there of which one event can be read and one cannot."""
    body = singles.body_of([encode(checked(1)), b"\x81\xaaevent_type\xa7Unknown"])
    entry = Entry("app", "1", 0, 2, time.time_ns(), b"", body, version=singles.VERSION)
    way.client.execute_command("XADD", way.stream, "*", *entry.fields(way.stream, None))


def test_an_event_that_cannot_be_read_is_put_aside_once_though_its_reader_is_killed(
    way: Way,
) -> None:
    half_readable(way)
    killed, heir = way.reader(), way.reader(claim_after_s=0.0)
    assert numbers(take(killed, commit=False)) == [1]
    assert numbers(take(heir)) == [1]
    assert len(way.dead()) == 1
    assert killed.counts.lost + heir.counts.lost == {"rejected": 1}


@pytest.mark.swallows(sometimes=True)
def test_there_is_one_letter_though_the_answer_to_it_is_lost(way: Way) -> None:
    half_readable(way)
    with proxy(way.server.port) as before:
        url = f"redis://:{way.server.password}@127.0.0.1:{before.port}"
        reader = Reader(url, way.stream, "group")
        held = reader.read(10, 0)
        before.swallow(b"XACK")
        with pytest.raises(client_package.ConnectionError):
            reader.commit(held)
        wait_until(lambda: before.swallowed == 1)
        reader.reconnect()
        reader.join()
        reader.commit(held)
        reader.close()
    assert len(way.dead()) == 1
    assert reader.counts.lost == {"rejected": 1}


@pytest.mark.parametrize("body", [b"\xc1", b"\x91\xc0"])
def test_what_is_put_aside_whole_is_counted_though_the_answer_is_lost(
    way: Way, body: bytes
) -> None:
    entry = Entry("app", "1", 0, 1, time.time_ns(), b"", body, version=singles.VERSION)
    way.client.execute_command("XADD", way.stream, "*", *entry.fields(way.stream, None))
    with proxy(way.server.port) as before:
        url = f"redis://:{way.server.password}@127.0.0.1:{before.port}"
        reader = Reader(url, way.stream, "group")
        reader.join()
        before.swallow(b"XACK")
        with pytest.raises(client_package.ConnectionError):
            reader.read(10, 0)
        reader.reconnect()
        for _ in range(2):
            assert reader.read(10, 0) == []
        assert reader.settle() == {}
        reader.close()
    assert len(way.dead()) == 1
    assert reader.counts.lost == {"rejected": 1}
    assert sum(reader.counts.dead_letters.values()) == 1


def test_a_letter_and_its_entry_change_places_at_once_or_not_at_all(way: Way) -> None:
    way.client.xadd(way.stream, {"hello": "world"})
    reader = way.reader()
    way.client.execute_command("ACL", "SETUSER", "default", "-xack")
    try:
        for _ in range(2):
            with pytest.raises(client_package.RedisError):
                reader.read(10, 0)
            reader.reconnect()
        assert way.dead() == []
    finally:
        way.client.execute_command("ACL", "SETUSER", "default", "+xack")
    assert reader.read(10, 0) == []
    assert len(way.dead()) == 1
    assert reader.lag() == (0, 0.0)


def test_a_stream_that_is_deleted_is_made_again_and_nothing_is_counted_twice(way: Way) -> None:
    sender, reader = way.sender(), way.reader()
    send(sender, 0, 10)
    take(reader)
    reader.settle()
    way.client.delete(way.stream, *way.client.keys(f"{way.stream}:*"))
    assert reader.read(10, 0) == []
    send(sender, 10, 10)
    assert numbers(take(reader)) == [*range(10, 20)]
    assert reader.settle() == {}


def test_what_was_handled_is_no_loss_though_redis_forgets_it_before_it_is_settled(
    way: Way,
) -> None:
    sender, reader = way.sender(), way.reader(patience_s=0.0)
    send(sender, 0, 10)
    take(reader)
    again = way.entries()[0][1]
    way.client.delete(way.stream, *way.client.keys(f"{way.stream}:*"))  # the ledger too
    send(sender, 10, 10)  # these nobody has read
    way.client.delete(way.stream)
    way.client.xadd(way.stream, again)  # its answer never came, so it is sent again
    assert reader.read(10, 0) == []  # its group is gone as well
    send(sender, 20, 10)
    assert numbers(take(reader)) == [*range(20, 30)]
    assert [dict(counts) for counts in reader.settle().values()] == [{"gap": 10}]
    assert reader.counts.lost == {"gap": 10}
    assert reader.counts.duplicates == 10


def test_what_another_reader_handled_or_holds_is_no_loss_though_redis_forgets_it(way: Way) -> None:
    sender, one, other = way.sender(), way.reader(patience_s=3600), way.reader(patience_s=3600)
    send(sender, 0, 10)
    take(one)
    one.settle()
    send(sender, 10, 10)
    take(other)
    other.settle()  # one does not know of it
    send(sender, 20, 10)
    take(other)  # and nobody has settled this
    send(sender, 30, 10)
    held = take(other, commit=False)
    way.client.delete(way.stream, *way.client.keys(f"{way.stream}:*"))
    send(sender, 40, 10)
    way.client.delete(way.stream)
    assert one.read(10, 0) == []  # its group is gone as well
    send(sender, 50, 10)
    take(one)
    assert one.settle() == {}  # it waits for what the others know
    assert one.open_lines
    other.commit(held)
    assert other.settle() == {}  # now it has told what it knows
    for each in (one, other):
        each._ledger._patience_s = 0.0
    wait_until(lambda: bool(other.read(10, 0) or one.settle() or not one.open_lines))
    wait_until(lambda: other.settle() == {} and not other.open_lines)
    assert one.counts.lost + other.counts.lost == {"gap": 10}


@pytest.mark.swallows
def test_a_redis_that_is_killed_and_comes_back_loses_nothing_unsaid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with run_redis(tmp_path) as server:
        bus, way = MemoryBus(history=0), Way(server)
        sender = way.sender(keys=KEYS)
        bus.subscribe(sender.consume, name="redis")
        enough = threading.Event()
        made = 0

        def publish() -> None:
            nonlocal made
            while not enough.is_set():
                bus.publish(checked(made))
                made += 1
                time.sleep(0.0005)

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            for _ in range(2):
                before = sender.shipped
                wait_until(lambda before=before: sender.shipped > before)
                server.process.kill()
                wait_until(lambda: sender.trouble != "")
                server.process.start()
        finally:
            enough.set()
            publisher.join()
        assert bus.flush(PATIENCE)
        assert bus.close(PATIENCE)
        assert sender.finish(PATIENCE)
        reader = way.reader(keys=KEYS)
        got = numbers(take(reader))
        reader.settle()
        assert len(got) == len(set(got)) == reader.counts.handled
        assert len(got) + reader.counts.lost["gap"] == made
        assert bus.lost == sender.lost == {}
        way.close()
    said = [each for each in caplog.messages if "events wait in memory" in each]
    assert len(said) == 1
    assert "cannot be reached" in said[0] or "does not answer" in said[0]


@pytest.mark.swallows
def test_a_full_redis_is_waited_for_and_the_buffer_counts_what_gives_way(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with run_redis(tmp_path) as server:
        way, bus = Way(server), MemoryBus(history=0)
        sender = way.sender()
        shipping = bus.subscribe(sender.consume, name="redis", capacity=50)
        way.client.config_set("maxmemory", "1")
        for number in range(1_000):
            bus.publish(checked(number))
        wait_until(lambda: "full" in sender.trouble)
        way.client.config_set("maxmemory", "0")
        assert bus.flush(PATIENCE)
        got = numbers(take(reader := way.reader()))
        assert len(got) + shipping.lost.get("queue_full", 0) == 1_000
        assert got[-1] == 999
        assert reader.settle() == {}
        assert sender.trouble == ""
        assert sender.blocked_s > 0  # it is a counter, and stays
        assert bus.close(PATIENCE)
        way.close()
    assert [each for each in caplog.messages if "raise maxmemory" in each]


@pytest.mark.swallows
def test_without_a_redis_the_end_comes_in_time_and_all_is_counted() -> None:
    bus, sender = MemoryBus(history=0), Sender("redis://127.0.0.1:9/0", "nowhere")
    bus.subscribe(sender.consume, name="redis")
    for number in range(1_000):
        bus.publish(checked(number))
    assert bus.flush(0.1) is False
    assert sender.finish(0.1) is False
    assert bus.close(PATIENCE)
    assert sender.lost == {"shutdown": 1_000}
    assert bus.lost == {}


def test_a_forked_child_is_another_epoch_with_a_connection_of_its_own(way: Way) -> None:
    sender = way.sender()
    send(sender, 0, 10)

    def child() -> object:
        send(sender, 100, 10)
        return sender.finish(PATIENCE), sender.shipped

    assert in_child(child) == "(True, 10)"
    send(sender, 10, 10)
    held = take(reader := way.reader())
    assert sorted(numbers(held)) == [*range(20), *range(100, 110)]
    assert len({each.entry.epoch for each in held}) == 2
    assert len({each.entry.producer for each in held}) == 1
    assert reader.settle() == {}


@pytest.mark.swallows
def test_an_entry_whose_answer_was_lost_is_sent_again_and_comes_once(way: Way) -> None:
    with proxy(way.server.port) as before:
        sender = Sender(f"redis://:{way.server.password}@127.0.0.1:{before.port}", way.stream)
        send(sender, 0, 10)
        before.swallow(b"XADD")
        send(sender, 10, 10)
        assert before.swallowed == 1
        assert len(way.entries()) == 3
        reader = way.reader()
        assert numbers(take(reader)) == [*range(20)]
        assert reader.settle() == {}
        assert reader.counts.duplicates == 10
        assert sender.finish(PATIENCE)


@pytest.mark.parametrize("word", [b"XREADGROUP", b"XACK", b"ZREMRANGEBYSCORE"])
def test_a_reader_that_loses_an_answer_handles_and_counts_all_once(way: Way, word: bytes) -> None:
    sender = way.sender()
    for number in range(4):
        send(sender, number * 10, 10)
    way.client.xdel(way.stream, way.entries()[1][0])
    with proxy(way.server.port) as before:
        url = f"redis://:{way.server.password}@127.0.0.1:{before.port}"
        reader = Reader(url, way.stream, "group")
        steps = [
            lambda: got.extend(reader.read(100, 0)),
            lambda: reader.commit(got),
            lambda: losses.extend(dict(each) for each in reader.settle().values()),
        ]
        got: list[Held] = []
        losses: list[dict[str, int]] = []
        reader.join()
        before.swallow(word)
        for step in steps:
            try:
                step()
            except client_package.ConnectionError:
                reader.reconnect()
                reader.join()
                step()
        wait_until(lambda: before.swallowed == 1)
        losses.extend(dict(each) for each in reader.settle().values())
        assert numbers(got) == [*range(10), *range(20, 40)]
        assert losses == [{"gap": 10}]
        assert (reader.counts.handled, reader.counts.lost) == (30, {"gap": 10})
        assert take(other := way.reader(claim_after_s=0)) == []
        assert other.settle() == {}
        reader.close()


@pytest.mark.swallows
def test_a_primary_that_became_a_replica_is_looked_for_under_its_name_again(
    way: Way, tmp_path: Path
) -> None:
    with run_redis(tmp_path) as before, proxy(before.port) as name:
        admin: Any = connect(before.url)
        url = f"redis://:{way.server.password}@127.0.0.1:{name.port}"
        sender = Sender(url, way.stream)
        send(sender, 0, 1)
        assert admin.xlen(way.stream) == 1
        admin.execute_command("REPLICAOF", "127.0.0.1", "9")
        shipping = threading.Thread(target=send, args=(sender, 1, 1))
        shipping.start()
        wait_until(lambda: "it is a replica" in sender.trouble)
        name.lead_to(way.server.port)  # the connections that there are stay
        try:
            wait_until(lambda: len(way.entries()) == 1)
        finally:
            sender.finish(0)
            shipping.join(20)
            admin.close()


@pytest.mark.swallows
def test_a_primary_that_lacks_its_replicas_is_waited_for(way: Way, tmp_path: Path) -> None:
    with run_redis(tmp_path, {"min-replicas-to-write": "1"}) as server:
        sender = Sender(server.url, "events")
        send_in_vain(sender)
        assert sender.trouble.endswith("it has too few replicas to write")
        assert sender.lost == {"shutdown": 1}


@pytest.mark.swallows
def test_a_cluster_is_named_before_anything_is_read_of_it(tmp_path: Path) -> None:
    options = {"cluster-enabled": "yes", "cluster-port": str(free_ports(1)[0])}
    with run_redis(tmp_path, options) as server:
        client: Any = connect(server.url)
        sender = Sender(server.url, "events")
        send_in_vain(sender)
        assert sender.trouble.endswith("it is a cluster, which is down")
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        reader = Reader(server.url, "events", "group")
        with pytest.raises(RedisSetupError, match="is a cluster: name a single Redis"):
            reader.read(1, 0)
        with pytest.raises(client_package.RedisError) as caught:
            client.execute_command("MSET", "a", 1, "b", 2)
        assert explained(caught.value, server.url)[1].startswith("name a single Redis")
        reader.reconnect()
        client.close()


def test_it_works_over_a_unix_socket(redis: Redis) -> None:
    stream = redis.stream()
    url = f"unix://:{redis.password}@{redis.socket}"
    sender, reader = Sender(url, stream), Reader(url, stream, "group")
    send(sender, 0, 3)
    assert sender.finish(PATIENCE)
    assert numbers(take(reader)) == [0, 1, 2]
    reader.close()
    assert where(url) == f"unix:{redis.socket}"


@pytest.mark.swallows
def test_what_is_wrong_is_said_with_its_mend_and_without_the_password(redis: Redis) -> None:
    wrong = f"redis://:Xq7wrong@127.0.0.1:{redis.port}/0"
    none = f"redis://127.0.0.1:{redis.port}/0"
    for url, words in ((wrong, "refuses the password"), (none, "wants a password")):
        client = connect(url)
        with pytest.raises(client_package.RedisError) as caught:
            client.ping()
        what, mend = explained(caught.value, url)
        assert words in what
        assert f"redis://127.0.0.1:{redis.port}" in what
        assert mend
        client.close()
    client = connect(redis.url)
    key = redis.stream()
    client.set(key, "no stream")
    sender = Sender(redis.url, key)
    send_in_vain(sender)
    assert "the key is no stream" in sender.trouble
    sender.finish(0.0)
    check_version(client, redis.url)
    client.close()
    with pytest.raises(RedisSetupError, match="cannot be used as it is written"):
        connect("redis://127.0.0.1:1/0?socket_timeout=soon&Xq7=1")


def test_tries_are_apart_by_a_random_and_growing_time() -> None:
    backoff = Backoff(0.1, 1.0)
    waits = [backoff.next() for _ in range(8)]
    for wait, longest in zip(waits, (0.1, 0.2, 0.4, 0.8, 1, 1, 1, 1), strict=True):
        assert longest / 2 <= wait <= longest
    backoff.reset()
    assert backoff.next() <= 0.1


@pytest.mark.swallows
def test_what_cannot_be_encoded_is_counted_and_the_others_go(
    way: Way,
) -> None:
    sender, reader = way.sender(), way.reader()
    bad = checked(1)
    force_setattr(bad, "details", {"x": object()})
    sender.consume([(bad, None), (checked(2), None)])
    assert sender.lost == {"rejected": 1}
    assert numbers(take(reader)) == [2]
    assert reader.settle() == {}

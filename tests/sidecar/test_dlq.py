"""Dead letters: listed, shown, sent back and dropped, by the command and on a real Redis."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from otel_dbevents import cli
from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.dead import (
    MENDS,
    Again,
    DeadLetters,
    letter_fields,
    name_of,
    with_again,
)
from otel_dbevents.bus.redis.entries import Entry, pack_all
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.codec import encode
from otel_dbevents.events import DatabaseHealthCheckCompleted, HealthStatus
from tests.bus import singles
from tests.services.redis import Redis

KEY = "Xq7 a key of the tests, long enough"
KEYS = Keyring(KEY)
OTHER = "another key, also long enough"
UNKNOWN = b"\x81\xaaevent_type\xa7Unknown"


class Queue:
    """A stream with its dead letters, and the command that looks at them."""

    def __init__(self, redis: Redis, capsys: pytest.CaptureFixture[str]) -> None:
        self.redis, self.stream, self._capsys = redis, redis.stream(), capsys
        self.client: Any = connect(redis.url)
        self.letters = DeadLetters(self.client, self.stream, KEYS)
        self.readers: dict[str, Reader] = {}

    def put(self, bodies: list[bytes], *, keys: Keyring | None = KEYS, **changed: Any) -> None:
        """Put an entry of these events into the stream."""
        said = {"epoch": "1", "first": 0, "sent_ns": time.time_ns(), **changed}
        numbers = said["first"], len(bodies), said["sent_ns"]
        body, version = singles.body_of(bodies), singles.VERSION
        entry = Entry("app", said["epoch"], *numbers, b"", body, version=version)
        self.client.execute_command("XADD", self.stream, "*", *entry.fields(self.stream, keys))

    def reader(self, group: str = "sidecar", **options: Any) -> Reader:
        self.readers[group] = Reader(self.redis.url, self.stream, group, keys=KEYS, **options)
        return self.readers[group]

    def take(self, group: str = "sidecar") -> list[Any]:
        """Return what the group is given, handled."""
        reader = self.readers.get(group) or self.reader(group)
        held = reader.read(100, 0)
        reader.commit(held)
        reader.settle()
        return [event.latency_ms for each in held for event in each.events]

    def say(self, *given: str, status: int = 0) -> str:
        """Run the command, and return what it says."""
        assert cli.main(["dlq", *given]) == status
        said = self._capsys.readouterr()
        assert "Xq7" not in said.out + said.err
        return said.out if status == 0 else said.err

    def contents(self, id_: str) -> list[tuple[int, Any]]:
        """Return what is shown of a letter's events: place and number, None for unreadable ones."""
        shown = json.loads(self.say("show", id_, "--json"))
        assert shown["events"] == len(shown["contents"])
        return [
            (each["place"], None if each.get("unreadable") else each["payload"]["latency_ms"])
            for each in shown["contents"]
        ]

    def close(self) -> None:
        for each in self.readers.values():
            each.reconnect()
        self.client.close()


def numbered(number: int) -> bytes:
    """Return an event, encoded, that holds a value which is nobody's business."""
    return encode(
        DatabaseHealthCheckCompleted(HealthStatus.HEALTHY, number, details={"held": "Xq7value"})
    )


@pytest.fixture
def queue(
    redis: Redis, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Queue]:
    made = Queue(redis, capsys)
    monkeypatch.setenv("OTEL_DBEVENTS_BUS_URL", redis.url)
    monkeypatch.setenv("OTEL_DBEVENTS_STREAM", made.stream)
    monkeypatch.setenv("OTEL_DBEVENTS_SIGNING_KEY", KEY)
    yield made
    made.close()


def test_an_entry_goes_back_where_its_key_is_known_and_is_told_once(queue: Queue) -> None:
    queue.put([numbered(1), numbered(2)], keys=Keyring(OTHER))
    queue.put([numbered(3)], epoch="2")
    assert queue.take() == [3]
    assert "unknown_key" in queue.say("list")
    assert queue.say("retry", "--reason", "unknown_key") == "1 sent back\n"
    assert queue.take() == []  # its signature is checked as before
    assert "unknown_key" in queue.say("list")
    queue.readers["sidecar"].reconnect()
    known = Reader(queue.redis.url, queue.stream, "sidecar", keys=Keyring(KEY, OTHER))
    queue.readers["sidecar"] = known
    assert queue.say("retry", "--all") == "1 sent back\n"
    back = queue.client.xrevrange(queue.stream, "+", "-", 1)[0][1]
    queue.client.xadd(queue.stream, back)  # somebody makes a copy of it
    assert queue.take() == [1, 2]
    assert (known.counts.again, known.counts.duplicates) == (2, 2)
    assert dict(known.counts.lost) == {}
    assert queue.say("list") == "there are no dead letters\n"


def test_what_was_settled_long_ago_comes_back_all_the_same(queue: Queue) -> None:
    queue.put([numbered(0), UNKNOWN, numbered(1), UNKNOWN])
    queue.put([numbered(2)], first=4)
    assert queue.take() == [0, 1, 2]
    counts = queue.readers["sidecar"].counts
    assert counts.lost == {"rejected": 2}
    assert queue.say("retry", "--all") == "1 sent back\n"
    assert queue.take() == []  # nobody can read them yet
    [letter] = queue.letters.all()
    assert (letter.reason, letter.events, letter.chosen) == ("undecodable", 2, (1, 3))
    assert counts.lost == {"rejected": 2}  # not counted twice


def test_an_old_entry_may_be_retried_but_not_an_old_retry(queue: Queue) -> None:
    queue.put([numbered(1)], sent_ns=time.time_ns() - 90_000 * 10**9)
    assert queue.take() == []
    [letter] = queue.letters.all()
    assert letter.reason == "stale"
    old = Again(letter.id, "", (), time.time_ns() - 90_000 * 10**9)
    queue.client.xadd(queue.stream, with_again(letter.retry_fields, old, queue.stream, KEYS))
    assert queue.take() == []
    assert [each.reason for each in queue.letters.all()] == ["stale", "again"]
    assert queue.say("retry", letter.id) == "1 sent back\n"
    assert queue.take() == [1]


@pytest.mark.parametrize("keys", [None, Keyring("the key of a stranger to us")])
def test_only_who_has_the_key_may_send_back(queue: Queue, keys: Keyring | None) -> None:
    queue.put([numbered(1)])
    assert queue.take() == [1]
    [(_, fields)] = queue.client.xrange(queue.stream)
    again = Again("1-1", "", (), time.time_ns())
    queue.client.xadd(queue.stream, with_again(fields, again, queue.stream, keys))
    assert queue.take() == []
    assert [each.reason for each in queue.letters.all()] == ["again"]


def test_the_note_of_one_retry_does_for_no_other_entry(queue: Queue) -> None:
    queue.put([numbered(1)])
    queue.put([numbered(2)], epoch="2", keys=Keyring(OTHER))
    assert queue.take() == [1]
    queue.readers["sidecar"].reconnect()
    queue.readers["sidecar"] = Reader(
        queue.redis.url, queue.stream, "sidecar", keys=Keyring(KEY, OTHER)
    )
    assert queue.say("retry", "--all") == "1 sent back\n"
    [(_, told), _, (_, back)] = queue.client.xrange(queue.stream)
    note = {name: back[name] for name in (b"x", b"xk", b"xg")}
    queue.client.xadd(queue.stream, {**told, **note})  # what was told long ago, as if retried
    assert queue.take() == [2]
    assert [each.reason for each in queue.letters.all()] == ["again"]


def test_a_letter_is_sent_back_and_gone_at_once_or_not_at_all(queue: Queue) -> None:
    queue.put([numbered(1)], keys=None)
    assert queue.take() == []
    queue.client.execute_command("ACL", "SETUSER", "default", "-xdel")
    try:
        said = queue.say("retry", "--all", status=2)
    finally:
        queue.client.execute_command("ACL", "SETUSER", "default", "+xdel")
    assert "the user may not do that" in said
    assert queue.client.xlen(queue.stream) == 1
    assert len(list(queue.letters.all())) == 1


def test_what_one_group_put_aside_goes_back_to_that_group_only(queue: Queue) -> None:
    queue.put([numbered(0), numbered(1), numbered(2)])
    first, other = queue.reader("first"), queue.reader("other")
    [held] = first.read(10, 0)
    first.put_aside(held, "ValueError", [1], stage="handler", handler="mail", tries=3)
    assert queue.take("other") == [0, 1, 2]
    assert (first.counts.handled, first.counts.lost) == (2, {"rejected": 1})
    said = queue.say("list")
    assert "ValueError" in said
    assert "mail" in said
    assert queue.say("retry", "--all") == "1 sent back\n"
    assert queue.take("other") == []
    assert queue.take("first") == [1]
    assert first.counts.again == 1
    assert other.lag() == first.lag() == (0, 0.0)


def test_a_letter_is_shown_without_values(queue: Queue) -> None:
    queue.put([numbered(0), numbered(7)])
    reader = queue.reader()
    [held] = reader.read(10, 0)
    reader.put_aside(held, "ValueError", [1], stage="handler", handler="mail", tries=3)
    [letter] = queue.letters.all()
    shown = json.loads(queue.say("show", letter.id, "--json"))
    assert {name: shown[name] for name in ("reason", "stage", "handler", "tries", "events")} == {
        "reason": "ValueError",
        "stage": "handler",
        "handler": "mail",
        "tries": 3,
        "events": 1,
    }
    assert shown["entry"] == held.id.decode()
    assert shown["when"].startswith("20")
    [event] = shown["contents"]
    assert event["payload"]["latency_ms"] == 7
    assert event["payload"]["details"] == "..."
    assert "DatabaseHealthCheckCompleted" in queue.say("show", letter.id)
    [listed] = json.loads(queue.say("list", "--json"))
    assert listed["id"] == letter.id


def test_list_and_show_tell_of_the_same_events_where_others_of_the_entry_cannot_be_read(
    queue: Queue,
) -> None:
    queue.put([UNKNOWN, numbered(1), UNKNOWN, numbered(3), numbered(4)])
    reader = queue.reader()
    [held] = reader.read(10, 0)
    reader.put_aside(held, "ValueError", [1], stage="handler", handler="mail", tries=3)
    unread, failed = json.loads(queue.say("list", "--json"))
    assert [(each["reason"], each["events"]) for each in (unread, failed)] == [
        ("undecodable", 2),
        ("ValueError", 1),
    ]
    assert queue.contents(unread["id"]) == [(0, None), (2, None)]
    assert queue.contents(failed["id"]) == [(3, 3)]
    assert queue.say("retry", failed["id"]) == "1 sent back\n"
    assert queue.take() == [3]  # what was shown is what comes
    assert [each.id for each in queue.letters.all()] == [unread["id"]]


def test_of_an_entry_in_columns_the_places_are_the_same(queue: Queue) -> None:
    bodies = [DatabaseHealthCheckCompleted(HealthStatus.HEALTHY, each) for each in range(3)]
    [(count, body)] = pack_all(bodies)
    zero, text = b"latency_ms\x93\xcb" + bytes(8), b"latency_ms\x93\xa8" + b"a" * 8
    body = body.replace(zero, text)  # the first is no number
    entry = Entry("app", "1", 0, count, time.time_ns(), b"", body)
    queue.client.execute_command("XADD", queue.stream, "*", *entry.fields(queue.stream, KEYS))
    reader = queue.reader()
    [held] = reader.read(10, 0)
    reader.put_aside(held, "ValueError", [0, 1], stage="handler", handler="mail", tries=3)
    unread, failed = queue.letters.all()
    assert queue.contents(unread.id) == [(0, None)]
    assert queue.contents(failed.id) == [(1, 1), (2, 2)]


def test_what_was_unreadable_is_shown_once_this_version_can_read_it(queue: Queue) -> None:
    queue.put([numbered(0), numbered(1)])
    reader = queue.reader()
    [held] = reader.read(10, 0)
    reader.put_aside(held, "undecodable", [1], stage="read")  # by a sidecar of before
    [letter] = queue.letters.all()
    assert queue.contents(letter.id) == [(1, 1)]


@pytest.mark.parametrize("act", ["show", "retry", "drop"])
def test_an_id_is_taken_whole_only_as_half_of_one_may_be_of_many(queue: Queue, act: str) -> None:
    fields = letter_fields(b"1-1", {b"hello": b"world"}, "malformed")
    for number in range(2):
        queue.client.xadd(name_of(queue.stream), fields, id=f"5-{number}")
    for given in ("5", "5-", "1", "\u0665-\u0660", "9" * 30):
        assert "otel-dbevents dlq list has the IDs" in queue.say(act, given, status=1)
    assert queue.client.xlen(name_of(queue.stream)) == 2
    queue.say(act, "5-1")
    left = [each.id for each in queue.letters.all()]
    assert left == (["5-0", "5-1"] if act == "show" else ["5-0"])


def test_of_what_anybody_may_have_written_only_sizes_are_shown(queue: Queue) -> None:
    queue.client.xadd(queue.stream, {"hello\x1b[2J": "world", "v": "1"})
    queue.put([numbered(1)], keys=None)
    assert queue.take() == []
    for letter in queue.letters.all():
        said = queue.say("show", letter.id)
        assert "\x1b" not in said
        assert "world" not in said
        assert "HealthCheck" not in said
        assert "bytes)" in said


def test_letters_are_dropped_one_by_one_by_reason_or_all(queue: Queue) -> None:
    for keys in (None, None, Keyring("the key of a stranger to us")):
        queue.put([numbered(1)], keys=keys)
    queue.client.xadd(queue.stream, {"hello": "world"})
    assert queue.take() == []
    [first, *_] = queue.letters.all()
    assert queue.say("drop", first.id) == "1 dropped\n"
    assert json.loads(queue.say("drop", "--reason", "unsigned", "--json"))["dropped"]
    assert sorted(each.reason for each in queue.letters.all()) == ["malformed", "unknown_key"]
    assert "there is no letter" in queue.say("drop", first.id, status=1)
    assert "there is no letter" in queue.say("show", "a\x1bb", status=1)
    assert "no letter has the reason" in queue.say("retry", "--reason", "unsigned", status=1)
    assert queue.say("drop", "--all") == "2 dropped\n"
    assert queue.say("drop", "--all") == "0 dropped\n"
    assert queue.client.xlen(name_of(queue.stream)) == 0


def test_all_of_many_are_found(queue: Queue) -> None:
    for _ in range(250):
        queue.client.xadd(queue.stream, {"hello": "world"})
    reader = queue.reader()
    for _ in range(3):
        assert reader.read(100, 0) == []
    assert queue.say("list").endswith("250 x malformed: " + MENDS["malformed"] + "\n")
    assert queue.say("retry", "--all") == "250 sent back\n"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["retry"], "one of the arguments ID --reason --all is required"),
        (["drop", "1-1", "--all"], "not allowed with"),
        (["dance"], "invalid choice"),
        ([], "the following arguments are required"),
    ],
)
def test_what_is_to_be_moved_must_be_said(
    given: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["dlq", *given])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_without_a_redis_the_status_is_2_and_the_mend_is_said(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_DBEVENTS_BUS_URL", "redis://:Xq7pw@127.0.0.1:9/0")
    assert "cannot be reached: start it" in queue.say("list", status=2)
    monkeypatch.delenv("OTEL_DBEVENTS_BUS_URL")
    assert "set OTEL_DBEVENTS_BUS_URL" in queue.say("list", status=2)

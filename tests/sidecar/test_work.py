"""The sidecar's loop: what cannot be told does not hold up the rest."""

import threading
from typing import Any

import pytest

from otel_dbevents.bus.redis.connecting import connect
from otel_dbevents.bus.redis.dead import DeadLetters
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.bus.redis.sender import Sender
from otel_dbevents.sidecar.outlets import Outlets
from otel_dbevents.sidecar.tellers import Tellers
from otel_dbevents.sidecar.work import Work
from tests.bus.contract import checked
from tests.services.process import wait_until
from tests.services.redis import Redis


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
        wait_until(lambda: work.counts.handled == 4 and len(list(letters.all())) == 1, 20)
        [letter] = letters.all()
        assert (letter.reason, letter.stage, letter.events) == ("telling", "tell", 2)
        assert (letter.group, work.counts.lost) == ("sidecar", {"rejected": 2})
        tellers.wrong = ""
        letters.retry(letter)
        wait_until(lambda: work.counts.again == 2, 20)
        assert work.counts.lost == {"rejected": 2}
    finally:
        work.stop(5)
        thread.join(10)
        for sender in (good, bad):
            sender.finish(1)
        client.close()

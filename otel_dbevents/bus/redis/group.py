"""Group: a member of a consumer group, and what Redis gives it of the stream.

In: XREADGROUP, and XAUTOCLAIM of what others have held for too long. Out: messages as they are
stored. Nothing is known here of what is in them.
"""

import os
import socket
from collections.abc import Sequence
from time import monotonic, time, time_ns
from typing import Any, Final, TypeAlias

from otel_dbevents.bus.redis.connecting import check_version, connect, let_go
from otel_dbevents.events import new_id

_COUNT: Final = 50
_LOOKS: Final = 20
_MOST_IN_HAND: Final = 10_000
_BLOCK_S: Final = 1.0

Message: TypeAlias = tuple[bytes, dict[bytes, bytes] | None]
"""A message's id and its fields; None: it was deleted while it was in somebody's hands."""


class Group:
    """One member, with a connection of its own and a name that nobody else has.

    ``claim_after_s``: what another member has held for so long is taken over. ``from_now``: a
    group that is made begins with what is written from now on. The methods raise what the package
    ``redis`` raises; `reconnect` makes a new beginning.
    """

    def __init__(
        self, url: str, stream: str, name: str, *, claim_after_s: float, from_now: bool
    ) -> None:
        self._url, self.stream, self.name = url, stream, name
        self._claim_after_s, self._begin = claim_after_s, "$" if from_now else "0"
        self.member = f"{socket.gethostname()}-{os.getpid()}-{new_id().hex()[:8]}"
        self._claim_at = 0.0
        self._has_looked = False
        self.client: Any = None
        self.made_ns = 0
        """When this process made the group; 0: it was there."""

    def reconnect(self) -> None:
        """Let go of the connection; the next call makes one, and looks what we had in hand."""
        client, self.client, self._has_looked = self.client, None, False
        if client is not None:
            let_go(client)

    def join(self) -> None:
        """Connect, and make the group where there is none."""
        if self.client is None:
            self.client = connect(self._url)
        if not self._has_looked:
            check_version(self.client, self._url)
            self._make()

    def read(self, most: int, wait_s: float) -> tuple[list[Message], int]:
        """Return messages, and how many of them were in somebody's hands before.

        New ones are ``most`` at the most; where there are none, some are waited for.
        """
        self.join()
        again = [] if self._has_looked else self._own()
        self._has_looked = True
        if monotonic() >= self._claim_at:
            self._claim_at = monotonic() + self._claim_after_s / 4
            again += self._claimed()
        new = self._new(most, 0 if again else wait_s)
        return again + new, len(again)

    def renew(self, ids: Sequence[bytes]) -> None:
        """Say that these are being worked on, so that no other member takes them over."""
        if ids:
            self.client.xclaim(self.stream, self.name, self.member, 0, ids, justid=True)

    def has(self, ids: Sequence[bytes]) -> bool:
        """Whether all of these are in our hands still; another member may have taken them over."""
        if not ids:
            return True
        first, last = min(ids, key=order), max(ids, key=order)
        found = self.client.xpending_range(
            self.stream, self.name, first, last, _MOST_IN_HAND, consumername=self.member
        )
        return {bytes(each["message_id"]) for each in found} >= set(ids)

    def oldest_in_hand(self) -> bytes:
        """Return the id of the oldest message that any member has in hand; empty: there is none."""
        return bytes(self.client.xpending(self.stream, self.name)["min"] or b"")

    def first(self) -> bytes:
        """Return the id of the stream's first message; empty where there is none."""
        found = self.client.xrange(self.stream, "-", "+", 1)
        return bytes(found[0][0]) if found else b""

    def lag(self) -> tuple[int, float]:
        """Return how many messages are not handled yet, and the age of the oldest in seconds."""
        for group in self.client.xinfo_groups(self.stream):
            if group["name"] == self.name.encode():
                oldest = self.oldest_in_hand() or self._after(group["last-delivered-id"])
                age = max(0.0, time() - seconds(oldest)) if oldest else 0.0
                return (group.get("lag") or 0) + group["pending"], age
        return 0, 0.0

    def leave(self) -> None:
        """Leave the group; with something in hand the group keeps our name, and it."""
        pending = self.client.xpending_range(
            self.stream, self.name, "-", "+", 1, consumername=self.member
        )
        if not pending:
            self.client.xgroup_delconsumer(self.stream, self.name, self.member)

    def end(self) -> None:
        """Do away with the group."""
        self.client.xgroup_destroy(self.stream, self.name)

    def _after(self, last: bytes) -> bytes:
        found = self.client.xrange(self.stream, b"(" + last, "+", 1)
        return bytes(found[0][0]) if found else b""

    def _make(self) -> None:
        try:
            self.client.xgroup_create(self.stream, self.name, self._begin, mkstream=True)
            self.made_ns = time_ns()
        except Exception as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _own(self) -> list[Message]:
        """Return all that is in our hands: an answer that we never got may have put it there."""
        found: list[Message] = []
        last = b"0"
        while True:
            answer = self.client.xreadgroup(
                self.name, self.member, {self.stream: last}, count=_COUNT
            )
            messages = answer[0][1] if answer else []
            if not messages:
                return found
            last = messages[-1][0]
            found += messages

    def _claimed(self) -> list[Message]:
        found: list[Message] = []
        start: bytes = b"0-0"
        least_ms = int(self._claim_after_s * 1000)
        for _ in range(_LOOKS):
            start, messages, *_gone = self.client.xautoclaim(
                self.stream, self.name, self.member, least_ms, start, count=_COUNT
            )
            found += messages
            if start == b"0-0":
                break
        return found

    def _new(self, most: int, wait_s: float) -> list[Message]:
        # Less than the client's time-out: with an answer that it does not wait for, what the
        # server gave us in it would be in our hands unseen.
        block = int(min(wait_s, _BLOCK_S) * 1000) or None
        try:
            answer = self.client.xreadgroup(
                self.name, self.member, {self.stream: ">"}, count=most, block=block
            )
        except Exception as error:
            if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise
            self._make()  # somebody deleted the stream
            return []
        return list(answer[0][1]) if answer else []


def order(id_: bytes) -> tuple[int, int]:
    """Return what messages are ordered by."""
    milliseconds, _, number = id_.partition(b"-")
    return int(milliseconds or 0), int(number or 0)


def seconds(id_: bytes) -> float:
    """Return when Redis took the message, in seconds since the epoch, by its own clock."""
    return order(id_)[0] / 1000

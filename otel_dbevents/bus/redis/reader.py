"""Reader: entries of the stream, each to one reader of a group, and taken out when handled.

In: messages of a `Group`. Out: `Held` entries, verified and new, which the caller handles and hands
to `Reader.commit`. What cannot be verified or read goes to the dead letters at once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

from otel_dbevents.bus.redis.burials import Burials
from otel_dbevents.bus.redis.dead import letter_fields
from otel_dbevents.bus.redis.entries import Entry, EntryError, Unpacker
from otel_dbevents.bus.redis.exits import Exits
from otel_dbevents.bus.redis.gaps import Gaps
from otel_dbevents.bus.redis.group import Group, Message
from otel_dbevents.bus.redis.held import Counts, Hands, Held
from otel_dbevents.bus.redis.ledger import Ledger
from otel_dbevents.bus.redis.signing import Keyring
from otel_dbevents.bus.redis.verifying import Verifier

__all__ = ["Counts", "Held", "Reader"]

_LOOK_S: Final = 1.0


class Reader:
    """Reads one stream as a member of a group; one thread may use it.

    Args:
        url: of the Redis.
        stream: the stream's name.
        group: its readers share the entries.
        keys: verify the entries; then none without a signature is taken.
        require_signature: take none that is not signed.
        claim_after_s: what another reader holds for so long is taken over. A reader that holds
            something longer says so by `renew`.
        from_now: a group that is made begins with what is written from now on; what was before is
            no loss.
        buries: what cannot be read is put to the dead letters, and what was trimmed before there
            was this group is a loss. False: the first is another group's part, the second none.
        patience_s: where Redis has forgotten everything, nothing is taken for lost for so long: the
            others of the group have in hand what it does not know of any more.

    Its methods raise what the package ``redis`` raises; `reconnect` makes a new beginning.

    """

    def __init__(
        self,
        url: str,
        stream: str,
        group: str,
        *,
        keys: Keyring | None = None,
        require_signature: bool = False,
        claim_after_s: float = 60.0,
        from_now: bool = False,
        buries: bool = True,
        patience_s: float = 5.0,
    ) -> None:
        self._look_at = 0.0
        self.stream, self.claim_after_s = stream, claim_after_s
        self._verifier = Verifier(stream, group, keys, required=require_signature)
        self._group = Group(url, stream, group, claim_after_s=claim_after_s, from_now=from_now)
        self._ledger = Ledger(stream, group, patience_s=patience_s)
        self._gaps = Gaps(self._group, self._ledger, from_now=from_now, judges_past=buries)
        self._unpacker = Unpacker()
        self.counts = Counts()
        self._burials = Burials(stream, self.counts, buries=buries)
        self._hands = Hands()
        self._exits = Exits(self._group, self._ledger, self._gaps, self._burials, self._hands)

    def join(self) -> None:
        """Connect, and make the group where there is none; done by `read` too."""
        self._group.join()

    def reconnect(self) -> None:
        """Let go of the connection; the next call makes one, and looks what we had in hand."""
        self._group.reconnect()

    def read(self, most: int, wait_s: float) -> list[Held]:
        """Return new entries, about ``most`` at the most, after ``wait_s`` seconds if none come."""
        messages, again = self._group.read(most, wait_s)
        self._exits.seen(messages)
        if monotonic() >= self._look_at:
            self._look_at = monotonic() + _LOOK_S
            self._ledger.is_remembered(self._client)
        old = [each for each in messages[:again] if each[0] not in self._hands]
        those = old + messages[again:]
        try:
            return self._taken(those)
        except Exception:  # nobody gets them now: they are ours still, and read again
            for id_, _ in those:
                self._hands.let_go(id_)
            raise

    def renew(self) -> None:
        """Say that what we hold is being worked on, so that no other takes it over."""
        self._group.renew(list(self._hands))

    def holds_all(self) -> bool:
        """Whether what we hold is in our hands still, and was not taken over by another."""
        return self._group.has(list(self._hands))

    def drop(self) -> None:
        """Hold nothing any more, as if just begun: what is ours still is read again."""
        self._hands.clear()
        self.reconnect()

    def commit(self, those: Sequence[Held]) -> None:
        """Take handled entries out of the group's hands: all or none; it may be done again."""
        if not those:
            return
        letters = [letter for each in those for letter in self._burials.unread(each)]
        self._exits.finish([each.id for each in those], [each.entry for each in those], letters)
        for each in those:
            self._done(each)

    def put_aside(
        self,
        held: Held,
        reason: str,
        numbers: Sequence[int],
        *,
        stage: str,
        handler: str = "",
        tries: int = 1,
    ) -> None:
        """Commit an entry of which some events (by their numbers in ``events``) are dead letters.

        Those are kept for this group alone: no other sees them again when they are retried.
        """
        letter = letter_fields(
            held.id,
            held.fields,
            reason,
            stage=stage,
            handler=handler,
            group=self._group.name,
            tries=tries,
            chosen=[held.place(number) for number in numbers],
        )
        self._exits.finish([held.id], [held.entry], [*self._burials.unread(held), letter])
        self._burials.count(reason)
        self._done(held, failed=len(numbers))

    def take_refused(self) -> Sequence[tuple[Entry, int]]:
        """Return, once, of which processes so many events went to the dead letters.

        Each as an entry that is theirs. What came from the dead letters was returned before.
        """
        return self._burials.take_refused()

    def _done(self, held: Held, failed: int = 0) -> None:
        self._gaps.handled(held.id, held.entry)
        well = len(held.events) - failed
        self.counts.handled += well
        if held.unread:
            self._burials.count("undecodable")
        if held.entry.again_of:
            self.counts.again += well
        else:
            self._burials.lose(held.entry, failed + len(held.unread))

    def settle(self) -> Mapping[str, Counter[str]]:
        """Return what never came, by line and reason, of what nobody has in hand any more.

        Each loss is returned once, to one reader of the group.
        """
        losses = self._gaps.settle(self._client)
        for counts in losses.values():
            self.counts.lost.update(counts)
        return losses

    @property
    def open_lines(self) -> frozenset[str]:
        """The lines of which something was handled, and `settle` has yet to say what is lost."""
        return self._gaps.open_lines

    def lag(self) -> tuple[int, float]:
        """Return how many entries are not handled yet, and the age of the oldest in seconds."""
        return self._group.lag()

    def close(self, *, ending: bool = False) -> None:
        """Leave the group; with entries in hand the group keeps our name, and them.

        ``ending``: the group was ours alone, and ends with us.
        """
        try:
            if self._client is not None and ending:
                self._group.end()
                self._ledger.drop(self._client)
            elif self._client is not None:
                self._group.leave()
        finally:
            self.reconnect()

    @property
    def _client(self) -> Any:
        return self._group.client

    def _taken(self, messages: Sequence[Message]) -> list[Held]:
        """Verify entries, and leave out those that were handled before."""
        found: list[tuple[bytes, dict[bytes, bytes], Entry]] = []
        done: list[bytes] = []
        for id_, fields in messages:
            if fields is None:
                done.append(id_)  # it is missing, and counted as that
                continue
            try:
                entry = self._verifier.entry(id_, fields)
                if entry is None:
                    done.append(id_)  # another group's
                else:
                    found.append((id_, fields, entry))
            except EntryError as error:
                self._exits.reject(id_, fields, error.reason)
        self._gaps.look([(id_, entry) for id_, _, entry in found])
        known = self._ledger.known(self._client, [entry for _, _, entry in found])
        taken = list[Held]()
        for (id_, fields, entry), is_known in zip(found, known, strict=True):
            if is_known or self._hands.have(entry):
                self.counts.duplicates += entry.count
                done.append(id_)
            elif (held := self._unpacked(id_, fields, entry)) is not None:
                taken.append(held)
        if done:
            self._exits.finish(done, [])
        return taken

    def _unpacked(self, id_: bytes, fields: dict[bytes, bytes], entry: Entry) -> Held | None:
        try:
            events, bad = self._unpacker.unpack(entry)
        except EntryError as error:
            self._exits.reject(id_, fields, error.reason, entry)
            return None
        if bad and not events:
            self._exits.reject(id_, fields, "undecodable", entry, bad)
            return None
        held = Held(id_, entry, events, fields, tuple(bad))
        self._hands.take(held)
        self.counts.read += len(events)
        return held

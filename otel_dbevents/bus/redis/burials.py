"""Burials: what a reader of a group cannot read or handle, put to the dead letters and counted."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

from otel_dbevents.bus.redis.dead import MENDS, MOST, letter_fields, name_of

_log = logging.getLogger("otel_dbevents.bus")
_SAY_AGAIN_S: Final = 60.0


class Burials:
    """The dead letters that one reader makes.

    Args:
        stream: the stream's name.
        buries: what cannot be read is put to the dead letters. False: that is another group's part.
        counts: how many entries went there, by reason; is counted up.

    """

    def __init__(self, stream: str, counts: Counter[str], *, buries: bool) -> None:
        self._stream, self._counts, self._buries = stream, counts, buries
        self._silent: dict[str, float] = {}

    def letter(
        self, id_: bytes, fields: Mapping[bytes, bytes], reason: str
    ) -> Mapping[bytes, bytes] | None:
        """Return what is stored of an entry that cannot be read; None: another group does it."""
        return letter_fields(id_, fields, reason) if self._buries else None

    def add(self, pipe: Any, letter: Mapping[bytes, bytes] | None) -> None:
        """Have a pipeline put the letter to the others."""
        if letter is not None:
            pipe.xadd(name_of(self._stream), letter, maxlen=MOST, approximate=True)

    def bury(
        self, client: Any, id_: bytes, fields: Mapping[bytes, bytes], places: Sequence[int]
    ) -> None:
        """Put some events of an entry, by their places in it, to the dead letters."""
        if self._buries:
            self.add(client, letter_fields(id_, fields, "undecodable", chosen=places))
        self.count("undecodable")

    def count(self, reason: str) -> None:
        """Count a dead letter, and say once a minute what mends such ones."""
        if not self._buries and reason in MENDS:
            return  # it is another group's, which says so
        self._counts[reason] += 1
        now = monotonic()
        if now >= self._silent.get(reason, 0.0):
            self._silent[reason] = now + _SAY_AGAIN_S
            _log.warning(
                "an entry of %s went to the dead letters, %s: %s (said once a minute at most; "
                "`otel-dbevents dlq list` shows all)",
                self._stream,
                reason,
                MENDS.get(reason, "a handler failed, mend it and retry"),
            )

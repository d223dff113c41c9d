"""Outlets: the exporters, and how their answers are read.

A collector that is down is waited for, and a request that is wrong is not sent again as it is; so
why something was not taken is looked at. An exporter whose answers cannot be heard (`Listening`)
says SUCCESS or FAILURE, and why only in its log: then that is read.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from opentelemetry.sdk.metrics.export import MetricsData

from otel_dbevents.exporters.answers import TOO_LARGE, Answer, Listening
from otel_dbevents.swallowing import told
from otel_dbevents.unreachable import EXPORTER_LOGGERS

Outcome: TypeAlias = Literal["taken", "later", "refused"]

_CODE: Final = re.compile(r"code: (?:StatusCode\.)?(?!None)(\w+)")
_PAUSE: Final = re.compile(r"retrying in ([\d.]+)s")
_WRONG: Final = frozenset({"400", "413", "422", "INVALID_ARGUMENT", "OUT_OF_RANGE", "DATA_LOSS"})
"""What a collector answers to a request that it will never take. A wrong password or path
(401, 403, 404, UNAUTHENTICATED) is the operator's to mend: what waits is right."""
_TOO_LARGE: Final = frozenset({"413", TOO_LARGE})
MOST_AT_ONCE: Final = 512
_MENDS: Final = (
    (("", "UNAVAILABLE"), "start it, or name another with OTEL_EXPORTER_OTLP_ENDPOINT"),
    (("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED"), "correct OTEL_EXPORTER_OTLP_HEADERS"),
    (
        ("404", "405", "UNIMPLEMENTED", "3"),
        "no OTLP is taken there: correct OTEL_EXPORTER_OTLP_ENDPOINT or _PROTOCOL",
    ),
)
"""By what a collector answers (HTTP's status or its first digit, or gRPC's code; nothing: there was
no answer): what mends it."""


def mend_of(code: str) -> str:
    """Return what mends it where a collector answered this, and is to be asked again."""
    return next(
        (mend for codes, mend in _MENDS if code in codes or code[:1] in codes),
        "it has too much to do, or what is behind it is away",
    )


class Outlets:
    """The exporters, by signal: ``traces``, ``metrics``, ``logs``; each may have several or none.

    One thread calls them, but for `abort`.
    """

    def __init__(self, exporters: Mapping[str, Sequence[Any]]) -> None:
        self._exporters = exporters
        self._listening = {
            id(each): Listening(each) for those in exporters.values() for each in those
        }
        every = [(signal, each) for signal, those in exporters.items() for each in those]
        self.askable = [each for each in every if self._listening[id(each[1])].hears]
        """Signals and exporters: those whose answers can be heard."""
        self._heard = _Heard()
        self._took, self._took_empty = set[int](), set[int]()
        """Which exporters' collectors took something, and which an empty request."""
        self._most: dict[int, int] = {}
        """How many items an exporter may send at once, where its collector found some too large."""
        self.pause_s = 0.0
        """For how long the collector asked to be left alone, when it did not take the last call.
        The exporter itself waits so long within its own time-out."""
        self.last = Answer(taken=True)
        """What the last call came to."""
        self.code = ""
        """What the collector answered where it did not take the last call; empty: nothing."""
        for name in EXPORTER_LOGGERS:
            logger = logging.getLogger(name)
            logger.filters.insert(0, self._heard)  # before one that holds lines back

    @property
    def places(self) -> Sequence[str]:
        """Where telemetry goes: hosts and ports, or an exporter's kind; none: nowhere."""
        every = (each for those in self._exporters.values() for each in those)
        return sorted({_place(each) for each in every})

    def of(self, signal: str) -> Sequence[Any]:
        """Return a signal's exporters."""
        return self._exporters.get(signal, ())

    @property
    def preferences(self) -> tuple[Any, Any]:
        """Temporality and aggregation as the exporter of metrics wants them; None: the SDK's."""
        for each in self.of("metrics"):
            temporality = getattr(each, "_preferred_temporality", None)
            return temporality, getattr(each, "_preferred_aggregation", None)
        return None, None

    def send(self, exporter: Any, batch: Any) -> Outcome:
        """Send a batch, and say whether it was taken, or may be later, or never."""
        if self._is_taken(exporter, batch):
            self._took.add(id(exporter))
            if (most := self._most.get(id(exporter), MOST_AT_ONCE)) < MOST_AT_ONCE:
                self._most[id(exporter)] = most + 1 + most // 16
            return "taken"
        return "refused" if self.code in _WRONG else "later"

    def most(self, exporter: Any) -> int:
        """Return how many items may be sent at once: fewer where so many had been too large.

        It grows again by a sixteenth with each request that is taken.
        """
        return min(self._most.get(id(exporter), MOST_AT_ONCE), MOST_AT_ONCE)

    def was_too_large(self, exporter: Any, number: int) -> None:
        """Take note that so many items were refused, and if for their size send fewer at once."""
        if self.code in _TOO_LARGE:
            self._most[id(exporter)] = max(1, number // 2)

    def ask(self, signal: str, exporter: Any, within_s: float) -> bool:
        """Send an empty request, and say whether it was taken; for so long it is tried at most."""
        empty: Any = MetricsData(resource_metrics=[]) if signal == "metrics" else []
        with self._listening[id(exporter)].hurried(within_s):
            if not self._is_taken(exporter, empty):
                return False
        self._took_empty.add(id(exporter))
        return True

    def takes_but_empty(self, exporter: Any) -> bool:
        """Whether its collector took something, and never an empty request."""
        return id(exporter) in self._took - self._took_empty

    def _is_taken(self, exporter: Any, batch: Any) -> bool:
        self._heard.last, self._heard.pauses = "", [0.0]
        try:
            answer = self._listening[id(exporter)].send(batch)
        except Exception as error:  # noqa: BLE001 - whatever an exporter raises, it did not take it
            told("sidecar exporter", error)
            answer = Answer(taken=False)
        self.last, self.code = answer, ""
        if not answer.taken:
            self.pause_s = max(answer.wait_s, *self._heard.pauses)
            said = _CODE.search(self._heard.last)
            self.code = answer.code or (said[1] if said is not None else "")
        return answer.taken

    def abort(self) -> None:
        """Have the exporters give up what they are trying. From any thread."""
        for each in (one for those in self._exporters.values() for one in those):
            try:
                each.shutdown()
            except Exception as error:  # noqa: BLE001 - the process ends
                told("sidecar exporter", error)

    def close(self) -> None:
        """Listen no more."""
        for name in EXPORTER_LOGGERS:
            logging.getLogger(name).removeFilter(self._heard)


def _place(exporter: Any) -> str:
    """Return where an exporter sends, without any name or password."""
    endpoint = getattr(exporter, "_endpoint", None)
    if not isinstance(endpoint, str):
        return type(exporter).__name__
    return urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").netloc.rpartition("@")[2]


class _Heard(logging.Filter):
    """Keeps the last line that an exporter said."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self.pauses = [0.0]

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep it, and let it pass."""
        self.last = record.getMessage()
        if pause := _PAUSE.search(self.last):
            self.pauses.append(float(pause[1]))
        return True

"""One clear line now and then where the SDK's exporters write several at each failed attempt."""

import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Final

from otel_dbevents.forks import in_child

_SAY_AGAIN_AFTER: Final = 300.0
_COUNT_AGAIN_AFTER: Final = 60.0
_log = logging.getLogger("otel_dbevents.exporters")

EXPORTER_LOGGERS: Final = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
_FAILED: Final = ("Transient error", "Failed to export")
_NOISE: Final = ("Shutdown in progress", "Exporter already shutdown", "OTLP client already shut")
_WHERE: Final = re.compile(
    r"host='([^']+)', port=(\d+)| to (?:\w+://)?(?:[^\s/@]*@)?([^\s,/@]+:\d+),"
)
_WHY: Final = re.compile(r"StatusCode\.(\w+)|code: (\d{3})|(Connection refused|timed out|timeout)")

_SPEAK_HTTP: Final = (
    "that is no port for gRPC, as it seems: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
)
_SPEAK_GRPC: Final = "that is a port for gRPC, as it seems: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
_HTTP2: Final = r"BadStatusLine('\x00"
"""What an HTTP/1 client says of a server that greets it with HTTP/2's first frame, as gRPC does."""


def _mend(message: str, where: str) -> str:
    """Say what to do: each protocol may have been tried on the other's port.

    Newer versions of gRPC say that it is one for HTTP, and 4318 is the usual one. Where nobody
    listens at all, as the connection is refused, that is said instead.
    """
    by_grpc = "StatusCode.UNAVAILABLE" in message and "refused" not in message
    if "http1.x server" in message or (by_grpc and where.endswith(":4318")):
        return _SPEAK_HTTP
    return _SPEAK_GRPC if _HTTP2 in message else "start a collector there"


class _OneLine(logging.Filter):
    """Says once in a while what the exporters would say several times at each attempt."""

    def __init__(self) -> None:
        super().__init__()
        self.may_be_disabled = True
        """Whether to do without telemetry is a mend."""
        self.is_ending = False
        """Whether exporters are given up: each then has a reason of its own, for the same."""
        self._said: dict[tuple[str, str], float] = {}
        self._counted_at = -_COUNT_AGAIN_AFTER
        self._begin_anew()
        in_child(self._begin_anew)

    def _begin_anew(self) -> None:
        self._lock, self.is_ending = threading.RLock(), False

    def filter(self, record: logging.LogRecord) -> bool:
        """Hold a failed export's line back; what is none passes."""
        text = str(record.msg)
        if text.startswith(_NOISE):
            return False
        if not text.startswith(_FAILED):
            return True
        message = record.getMessage()
        where = _first(_WHERE.search(message), ":")
        why = _first(_WHY.search(message), "") if where or "code: " in message else ""
        if self.is_due(where, why):
            _log.warning(
                "telemetry does not arrive%s%s: %s, or name another with "
                "OTEL_EXPORTER_OTLP_ENDPOINT%s; `otel-dbevents check` tells more (said every %.0f "
                "minutes at most)",
                f" at {where}" if where else "",
                f" ({why})" if why else "",
                _mend(message, where),
                ", or set OTEL_SDK_DISABLED=true" if self.may_be_disabled else "",
                _SAY_AGAIN_AFTER / 60,
            )
        return False

    def is_due(self, where: str, why: str) -> bool:
        """Whether this was not said lately. A line that tells neither is covered by any other.

        So is, at the end, one of a place by any other of that place, or of none.
        """
        now = time.monotonic()
        with self._lock:
            recent = {key: at for key, at in self._said.items() if now - at < _SAY_AGAIN_AFTER}
            due = (where, why) not in recent if (where or why) else not recent
            if self.is_ending:
                due = due and not any(place in (where, "") for place, _ in recent)
            if due:
                recent[where, why] = now
                self._counted_at = now
            self._said = recent
        return due

    def is_count_due(self) -> bool:
        """Whether nothing was said in the last minute."""
        now = time.monotonic()
        with self._lock:
            due = now - self._counted_at >= _COUNT_AGAIN_AFTER
            if due:
                self._counted_at = now
        return due


def _first(match: re.Match[str] | None, between: str) -> str:
    found = between.join(group for group in match.groups() if group) if match else ""
    return "no answer" if found == "CANCELLED" else found


_one_line = _OneLine()


def say_once(*, may_be_disabled: bool = True) -> None:
    """Put one line in the place of the exporters' many. Calling it twice is harmless.

    ``may_be_disabled``: whether to do without telemetry is one of the mends that it names.
    """
    _one_line.may_be_disabled = may_be_disabled
    _one_line.is_ending = False
    for name in EXPORTER_LOGGERS:
        logging.getLogger(name).addFilter(_one_line)


def say_no_second_reason() -> None:
    """Have one line of each place be enough, as the exporters are given up."""
    _one_line.is_ending = True


def say_all() -> None:
    """Let the exporters say what they like again."""
    _one_line.is_ending = False
    for name in EXPORTER_LOGGERS:
        logging.getLogger(name).removeFilter(_one_line)


def tell_lost(what: str, lost: Mapping[str, int], why: str = "") -> bool:
    """Say how many of ``what`` were lost so far, and why. False: a line was said a moment ago."""
    if not _one_line.is_count_due():
        return False
    _log.warning(
        "%d %s so far were lost: %s%s (said once a minute at most)",
        sum(lost.values()),
        what,
        _listed(lost),
        f"; {why}" if why else "",
    )
    return True


def tell_undelivered(where: str, why: str, mend: str) -> None:
    """Say that what Langfuse is to be shown does not arrive, unless that was said already."""
    if _one_line.is_due(where, why):
        _log.warning(
            "what Langfuse is to be shown does not arrive at %s (%s): %s; `otel-dbevents check` "
            "tells more (said every %.0f minutes at most)",
            where,
            why,
            mend,
            _SAY_AGAIN_AFTER / 60,
        )


def tell_of_loss(timeout: float, lost: Mapping[str, int]) -> None:
    """Say that the end of the process did not wait longer, unless the reason was said already."""
    if _one_line.is_due("", ""):
        _log.warning(
            "telemetry that could not be sent within %.1f s was given up: what it was sent to "
            "did not answer; OTEL_DBEVENTS_FLUSH_TIMEOUT_MS gives it more time%s",
            timeout,
            f" (lost in all: {_listed(lost)})" if lost else "",
        )


def _listed(lost: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {reason}" for reason, number in sorted(lost.items()))

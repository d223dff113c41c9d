"""What a collector answers beside yes and no: what it rejects of a request, and how long to wait.

In: an OTLP exporter of the SDK's, which reads neither. Out: its answer to each batch, as `Answer`.
Only that one exporter is listened to. One whose insides are not what is known here is read by what
it returns, as ever.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import cache
from importlib import import_module
from typing import Any, Final

import msgspec

from otel_dbevents.redaction import plain_text, redact
from otel_dbevents.swallowing import told

_LONGEST_WAIT_S: Final = 600.0
_LONGEST_BODY: Final = 64 * 1024
_LONGEST_WORDS: Final = 200
TOO_LARGE: Final = "OUT_OF_RANGE"
"""gRPC's code for what is too large; most servers answer it with that of an overload."""
_SIZE: Final = re.compile(
    r"(larger than|exceeds)( the)?( configured)? max|too large", re.IGNORECASE
)


class Answer(msgspec.Struct, frozen=True):
    """What became of a batch."""

    taken: bool
    """Whether the collector has it, but for what it rejected."""
    rejected: int = 0
    """So many of its items (of metrics: points) the collector will never take: a part of it."""
    words: str = ""
    """What the collector says of that, in short."""
    code: str = ""
    """HTTP's status or gRPC's code; empty: there was no answer, or none that could be heard."""
    wait_s: float = 0.0
    """For so long it asks not to be sent this again; ten minutes at most are believed."""


class Listening:
    """Sends by an exporter, and hears the answers. Several threads may send by one exporter."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        self._heard = threading.local()
        self.hears = False
        """Whether answers can be heard, and not only whether there was success."""
        try:
            self.hears = listen(exporter, self._hear)
        except Exception as error:  # noqa: BLE001 - an exporter that we do not know goes on as it was
            told("listening exporter", error)

    def send(self, batch: Any) -> Answer:
        """Send a batch, and return the last answer to it. Raises what the exporter does."""
        self._heard.last = None
        # Only a plain FAILURE is one, as some answer nothing.
        result = getattr(self._exporter.export(batch), "name", "") != "FAILURE"
        heard: Answer | None = self._heard.last
        if heard is None or not heard.code:
            return Answer(result)
        return heard

    @contextmanager
    def hurried(self, within_s: float) -> Iterator[None]:
        """Have the exporter try for so many seconds at most within the block, where that can be."""
        holder = next(
            (each for each in (getattr(self._exporter, "_client", None), self._exporter)
             if isinstance(getattr(each, "_timeout", None), int | float)),
            None,
        )  # fmt: skip
        if holder is None:
            yield
            return
        usual = holder._timeout
        holder._timeout = min(usual, within_s)
        try:
            yield
        finally:
            holder._timeout = usual

    def _hear(self, answer: Answer) -> None:
        self._heard.last = answer


def listen(exporter: Any, hear: Callable[[Answer], None]) -> bool:
    """Have ``hear`` called on the exporting thread with each answer; False where that cannot be."""
    holder = getattr(getattr(exporter, "_client", None), "_transport", exporter)
    hooks = getattr(getattr(holder, "_session", None), "hooks", None)
    if isinstance(hooks, dict) and isinstance(hooks.get("response"), list):
        hooks["response"].append(lambda response, **_: hear(_of_http(response)))
        return True
    return _put_between(exporter, hear)


def endure_closing(exporter: Any) -> None:
    """Have an exporter that is shut down while it sends say that it failed, as it does elsewhere.

    gRPC raises what the SDK takes for an error of its own then, and logs with its traceback. One
    that is listened to endures it already. Never raises.
    """
    try:
        if not isinstance(getattr(exporter, "_client", None), _Client):
            _put_between(exporter, lambda _: None)
    except Exception as error:  # noqa: BLE001 - an exporter that we do not know goes on as it was
        told("exporter", error)


def _put_between(exporter: Any, hear: Callable[[Answer], None]) -> bool:
    """Put our client before that of an exporter of gRPC's; False where there is none."""
    stub, channel = getattr(exporter, "_stub", None), getattr(exporter, "_channel", None)
    if stub is None or channel is None or not hasattr(exporter, "_initialize_channel_and_stub"):
        return False
    exporter._stub = lambda channel: _Client(stub(channel), hear)
    exporter._client = exporter._stub(channel)
    return True


class _Client:
    """A gRPC client whose answers are heard, and whose channel may be closed meanwhile."""

    def __init__(self, client: Any, hear: Callable[[Answer], None]) -> None:
        self._client, self._hear = client, hear

    def Export(self, *args: Any, **named: Any) -> Any:  # noqa: N802 - the stub's name
        """Send a request."""
        try:
            response = self._client.Export(*args, **named)
        except Exception as error:
            if _is_closed(error):
                self._hear(Answer(taken=False, code="CANCELLED"))
                raise _retold()("CANCELLED") from None
            if _is_too_large(error):  # is no overload: neither is it to be sent again as it is
                self._hear(Answer(taken=False, code=TOO_LARGE))
                raise _retold()("INVALID_ARGUMENT", error) from None
            self._hear(_of_error(error))
            raise
        self._hear(_of_message(response, "OK"))
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def _is_too_large(error: Any) -> bool:
    """Whether it says, in any server's words, that the message is larger than one may be."""
    try:
        is_size = _SIZE.search(str(error.details()))
        return error.code().name in ("RESOURCE_EXHAUSTED", TOO_LARGE) and is_size is not None
    except Exception as wrong:  # noqa: BLE001 - of another kind than is known here
        told("listening exporter", wrong)
        return False


def _is_closed(error: Exception) -> bool:
    """Whether the channel was closed before, for which gRPC has no error of its own."""
    return isinstance(error, ValueError) and "closed" in str(error)


@cache
def _retold() -> Any:
    """Return the kind of error that says by another code what gRPC said or did not say."""
    grpc: Any = import_module("grpc")

    class RetoldError(grpc.RpcError):  # type: ignore[misc]
        def __init__(self, code: str, error: Any = None) -> None:
            self._code, self._error = code, error

        def code(self) -> Any:
            return grpc.StatusCode[self._code]

        def details(self) -> str:
            return str(self._error.details()) if self._error is not None else "channel closed"

        def trailing_metadata(self) -> Any:
            return self._error.trailing_metadata() if self._error is not None else ()

    return RetoldError


def _of_http(response: Any) -> Answer:
    """Read an HTTP response, of requests. A redirection is no answer: nobody has the batch."""
    code, wait_s = int(response.status_code), 0.0
    if not 200 <= code < 300:
        if code in (429, 503):
            wait_s = _seconds(response.headers.get("Retry-After", ""), time.time())
        return Answer(taken=False, code=str(code), wait_s=wait_s)
    try:
        body = response.content
        kind = response.headers.get("Content-Type", "application/x-protobuf")
        if "protobuf" in kind and 0 < len(body) <= _LONGEST_BODY:
            # All signals' responses look the same, but for the name of the number.
            place = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
            message = import_module(place).ExportTraceServiceResponse.FromString(body)
            return _of_message(message, str(code))
    except Exception as error:  # noqa: BLE001 - half of it, or nothing of OTLP: the status counts
        told("listening exporter", error)
    return Answer(taken=True, code=str(code))


def _of_message(message: Any, code: str) -> Answer:
    """Read a response of any signal."""
    part = getattr(message, "partial_success", None)
    if part is None:
        return Answer(taken=True, code=code)
    names = ("rejected_spans", "rejected_data_points", "rejected_log_records")
    rejected = max(0, *(getattr(part, name, 0) for name in names))
    words = plain_text(redact(str(part.error_message)[: 10 * _LONGEST_WORDS]))
    one_line = " ".join(words.split())[:_LONGEST_WORDS]
    return Answer(taken=True, rejected=rejected, words=one_line, code=code)


def _of_error(error: Any) -> Answer:
    """Read what gRPC raises."""
    try:
        found = dict(error.trailing_metadata() or ())
        code = str(error.code().name)
        return Answer(taken=False, code=code, wait_s=_asked_by_grpc(found))
    except Exception as wrong:  # noqa: BLE001 - of another kind than is known here
        told("listening exporter", wrong)
        return Answer(taken=False)


def _asked_by_grpc(metadata: dict[str, Any]) -> float:
    """Return the seconds of a ``RetryInfo``, which is among the status's details."""
    details = import_module("google.rpc.error_details_pb2")
    info = details.RetryInfo()
    status = import_module("google.rpc.status_pb2").Status()
    status.ParseFromString(metadata.get("grpc-status-details-bin", b""))
    if not any(each.Unpack(info) for each in status.details):
        info.ParseFromString(metadata.get("google.rpc.retryinfo-bin", b""))
    return _believed(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)


def _seconds(text: str, now: float) -> float:
    """Return how many seconds a ``Retry-After`` asks for: a number, or a date."""
    text = text.strip()
    if text.isdigit():
        return _believed(float(text[:9]))
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return 0.0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return _believed(at.timestamp() - now)


def _believed(seconds: float) -> float:
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)

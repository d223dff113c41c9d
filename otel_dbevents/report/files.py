"""Spans out of files, as the collector's file exporter writes them: read piece by piece.

A line of JSON for each request, or protobuf with its length before it; either may be in gzip.
"""

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from otel_dbevents.report.model import Span
from otel_dbevents.report.otlp import spans_of_json, spans_of_protobuf
from otel_dbevents.report.sources import SourceError

LONGEST: Final = 256 * 1024 * 1024
"""Bytes of one request. A file without an end of line must not fill the memory."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_JSON: Final = (b"{", b" ", b"\t", b"\r", b"\n", b"\xef\xbb\xbf")
_EXPECTED: Final = (
    "expected is what the collector's file exporter writes (format json or proto, or either in "
    "gzip): one OTLP traces request a line"
)


def spans_of_file(name: str) -> Iterator[Span]:
    """Return a file's spans; ``-`` is what comes in. May raise `SourceError` at any of them."""
    try:
        if name == "-":
            yield from _spans(sys.stdin.buffer, "what came in")
            return
        with Path(name).open("rb") as file:
            yield from _spans(file, name)
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror or error}") from error


def _spans(raw: BinaryIO, name: str) -> Iterator[Span]:
    file = raw if hasattr(raw, "peek") else io.BufferedReader(raw)  # type: ignore[type-var]
    start = file.peek(8)[:8]
    if start.startswith(_GZIP):
        try:
            with gzip.open(file) as unpacked:
                yield from _spans(unpacked, name)  # type: ignore[arg-type]
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise SourceError(f"{name}: the gzip in it is damaged or cut off ({error})") from error
        return
    if _ZSTD in (start[:4], start[4:]):
        mend = "leave `compression: zstd` out of the exporter's configuration"
        if start.startswith(_ZSTD):
            mend = "zstd -dc FILE | otel-dbevents report -"
        raise SourceError(f"{name}: compressed with zstd, which this command does not read", mend)
    if not start:
        return
    yield from (_lines if start.startswith(_JSON) else _messages)(file, name)


def _lines(file: BinaryIO, name: str) -> Iterator[Span]:
    number = 0
    while line := file.readline(LONGEST):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line.strip():
            continue
        if number == 1 and line.strip() in (b"{", b"["):
            line += file.read(LONGEST)  # one document over many lines, as a browser saves it
        try:
            yield from spans_of_json(line)
        except ValueError as error:
            if not line.endswith(b"\n") and number > 1:
                return  # the last line, which is still being written
            raise SourceError(f"{name}, line {number}: {error}", _EXPECTED) from error


def _messages(file: BinaryIO, name: str) -> Iterator[Span]:
    number = 0
    while size := file.read(4):
        number += 1
        length = int.from_bytes(size, "big")
        wrong = SourceError(f"{name}: neither OTLP JSON nor OTLP protobuf", _EXPECTED)
        if length > LONGEST:
            raise wrong
        message = file.read(length)
        if len(size) < 4 or len(message) < length:
            if number == 1:
                raise wrong
            return  # the last one, which is still being written
        try:
            yield from spans_of_protobuf(message)
        except ValueError as error:
            raise wrong from error

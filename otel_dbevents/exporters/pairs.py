"""Attributes as OTLP bytes: each key with its value a ``KeyValue``, behind its length.

What is likely to come again (a string, a small whole number, a boolean) is remembered as bytes,
within a bound. What the SDK's own encoder treats in a way of its own (None, a stranger's type, a
number beyond 64 bits) is left to it.
"""

from collections.abc import Callable, Mapping
from struct import Struct
from typing import Any, Final, TypeAlias

Encoder: TypeAlias = Callable[[Any, int], bytes]
"""Encodes a value of one type as an ``AnyValue``, so many levels deep at most."""

_BYTES: Final = tuple(bytes((number,)) for number in range(0x80))
_INT64: Final = 1 << 63
_UINT64: Final = (1 << 64) - 1
_DOUBLE: Final = Struct("<Bd")
_DEEPEST: Final = 32
_LONGEST: Final = 4_096
_LARGEST: Final = 0xFFFF
_OVERHEAD: Final = 250


class UnusualError(ValueError):
    """A value that this module leaves to the SDK's encoder."""


class Pairs:
    """Encodes attributes. ``unusual`` is asked for the pairs that are left to the SDK's encoder.

    It returns the encoded ``KeyValue``, or several, or none when the value cannot be encoded.
    ``limit`` bounds, in bytes and roughly, what is remembered; beyond it all is forgotten.
    """

    def __init__(self, unusual: Callable[[Any, Any], list[bytes]], limit: int = 1 << 20) -> None:
        self._unusual = unusual
        self._limit = limit
        self._known: dict[type, dict[str, dict[Any, bytes]]] = {str: {}, int: {}, bool: {}}
        self._spent = 0

    @property
    def remembered(self) -> int:
        """Roughly how many bytes are kept; never more than the limit."""
        return self._spent

    def of(self, attributes: Mapping[str, Any]) -> list[bytes]:
        """Return each pair's length and ``KeyValue``, in the order of ``attributes``."""
        pairs: list[bytes] = []
        append, texts, numbers = pairs.append, self._known[str], self._known[int]
        for key, value in attributes.items():
            kind = type(value)
            try:
                if kind is str:
                    append(texts[key][value])
                elif kind is int:
                    append(numbers[key][value])
                else:
                    append(self._known[kind][key][value])
            except KeyError:
                self._add(pairs, key, value)
        return pairs

    def _add(self, pairs: list[bytes], key: Any, value: Any) -> None:
        try:
            pair = delimited(key_value(key, value, _DEEPEST))
        except (UnusualError, TypeError, UnicodeError):  # TypeError: the key is no string
            pairs.extend(delimited(pair) for pair in self._unusual(key, value))
            return
        pairs.append(pair)
        if type(key) is str and _may_repeat(value):
            self._remember(key, value, pair)

    def _remember(self, key: str, value: Any, pair: bytes) -> None:
        """Keep the pair. The kinds of values are kept apart, as 1 and True are equal."""
        self._spent += len(pair) + _OVERHEAD
        if self._spent > self._limit:
            for values in self._known.values():
                values.clear()
            self._spent = len(pair) + _OVERHEAD
        self._known[type(value)].setdefault(key, {})[value] = pair


def _may_repeat(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return len(value) <= _LONGEST
    return kind is bool or (kind is int and 0 <= value <= _LARGEST)


def varint(number: int) -> bytes:
    """Return a number from 0 up in protobuf's variable length."""
    if number < 0x80:
        return _BYTES[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def delimited(data: bytes) -> bytes:
    """Return ``data`` behind its length."""
    return varint(len(data)) + data


def text(tag: bytes, value: str | None) -> bytes:
    """Return a field of text; nothing where it is empty. Lone surrogates raise `UnicodeError`."""
    data = b"" if value is None else str.encode(value)
    return tag + delimited(data) if data else b""


def key_value(key: str, value: Any, depth: int) -> bytes:
    """Return a ``KeyValue``. `UnusualError`, `TypeError`, `UnicodeError`: this is not for us."""
    encode = _ENCODERS.get(type(value)) or _encoder_of(type(value))
    return text(b"\x0a", key) + b"\x12" + delimited(encode(value, depth))


def _any_value(value: Any, depth: int) -> bytes:
    encode = _ENCODERS.get(type(value)) or _encoder_of(type(value))
    return encode(value, depth)


def _string(value: str, _: int) -> bytes:
    return b"\x0a" + delimited(str.encode(value))


def _boolean(value: bool, _: int) -> bytes:
    return b"\x10\x01" if value else b"\x10\x00"


def _integer(value: int, _: int) -> bytes:
    if not -_INT64 <= value < _INT64:
        raise UnusualError("more than 64 bits")
    return b"\x18" + varint(int.__and__(value, _UINT64))


def _double(value: float, _: int) -> bytes:
    return _DOUBLE.pack(0x21, value)


def _bytes(value: bytes, _: int) -> bytes:
    return b"\x3a" + delimited(bytes(value))


def _array(value: list[Any] | tuple[Any, ...], depth: int) -> bytes:
    if not depth:
        raise UnusualError("too deep")
    return b"\x2a" + delimited(
        b"".join([b"\x0a" + delimited(_any_value(each, depth - 1)) for each in value])
    )


def _mapping(value: dict[Any, Any], depth: int) -> bytes:
    if not depth:
        raise UnusualError("too deep")
    return b"\x32" + delimited(
        b"".join(
            [
                b"\x0a" + delimited(key_value(str(key), each, depth - 1))
                for key, each in value.items()
            ]
        )
    )


_ENCODERS: Final[dict[type, Encoder]] = {
    bool: _boolean,
    str: _string,
    int: _integer,
    float: _double,
    bytes: _bytes,
    tuple: _array,
    list: _array,
    dict: _mapping,
}


def _encoder_of(kind: type) -> Encoder:
    """Return the encoder for a type derived from a scalar one, as members of enumerations are."""
    for base in (str, int, float, bytes):
        if issubclass(kind, base):
            return _ENCODERS[base]
    raise UnusualError(kind.__name__)

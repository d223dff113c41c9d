"""Bodies as the first version of an entry had them: a list of events, each encoded alone."""

from collections.abc import Sequence

import msgspec

VERSION = b"1"


def body_of(encoded: Sequence[bytes]) -> bytes:
    """Return the body of these, which are what `codec.encode` gives, or rubbish."""
    return msgspec.msgpack.encode([msgspec.Raw(each) for each in encoded])

"""Adding: entries go to the stream in one write, as bytes that are made here.

The package's own pipeline looks at each part of each command, which costs more than all else that
is done with a full entry. Its connections are used as it uses them itself.
"""

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from inspect import Parameter, signature
from typing import Any


class Stream:
    """One stream, as an entry's command names it; Redis keeps ``most_entries`` and a few more."""

    def __init__(self, name: str, most_entries: int) -> None:
        head = (b"XADD", name.encode(), b"MAXLEN", b"~", b"%d" % most_entries, b"*")
        self._parts = len(head)
        self._head = _bulk(head)

    def add(self, client: Any, entries: Sequence[Sequence[bytes]]) -> list[Any]:
        """Have Redis take the entries, of names and values in turn; return its answer to each.

        An answer is the entry's id, or the error that it was refused with. Raises what the package
        raises where there is no answer: then nobody knows what was taken.
        """
        pool, refusal = client.connection_pool, import_module("redis").ResponseError
        connection = pool.get_connection(*_asked_with(pool.__class__))
        try:
            connection.send_packed_command([b"".join(map(self._command, entries))])
            return [_answer(connection, refusal) for _ in entries]
        except BaseException:
            connection.disconnect()  # an answer to this would be taken for one to the next
            raise
        finally:
            pool.release(connection)

    def _command(self, fields: Sequence[bytes]) -> bytes:
        return b"*%d\r\n%b%b" % (self._parts + len(fields), self._head, _bulk(fields))


def _bulk(parts: Sequence[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(part), part) for part in parts])


def _answer(connection: Any, refusal: type[Exception]) -> Any:
    try:
        return connection.read_response(disable_decoding=True)
    except refusal as error:
        return error


@cache
def _asked_with(pools: Any) -> tuple[str, ...]:
    """Return what pools of older versions are asked for a connection with, and newer ones not."""
    told = signature(pools.get_connection).parameters.get("command_name")
    return ("XADD",) if told is not None and told.default is Parameter.empty else ()

"""Text without credentials: what `events` does to every message that comes from outside.

Where it is not certain what belongs to a credential, too much is removed rather than too little.
Every expression takes linear time (bounded or possessive repetitions), and to redact twice is the
same as once, since an event is redacted again when it is decoded.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, Final

REMOVED: Final = "[REDACTED]"
"""What stands where a credential stood."""

_WORD: Final = (
    r"(?:password|passwd|passphrase|pwd|secret(?!ar)|token|credential|authorization"
    r"|(?:api|access|private)[-_ ]?key)"
)
_NAMED: Final = re.compile(
    rf"""
    (?P<name>
        {_WORD} (?:s|key|hash|value)?+ \d{{0,4}}+
        (?: [-_][\w-]{{0,40}}+ | (?-i:(?<=[a-z])[A-Z]) \w{{0,40}}+ )?+
        | (?<![a-z]) pass (?=\s{{0,8}}+=)
        | identified\s{{1,4}}+by
    )
    (?P<between>
        [\\"'`\]]{{0,8}}+ \s{{0,8}}+ (?: => | :?={{1,2}} | : | %3[ad] ) \s{{0,8}}+
        | (?: (?<=password) | (?<=passwd) | (?<=\sby) ) \s{{1,8}}+ (?=["'])
    )
    (?P<value>
        [bru]{{0,2}} (?P<quote>["'])
          (?: (?!(?P=quote))[^\\] | \\. | (?P=quote){{2}} )*+ (?P=quote)?+
        | (?P<escaped>\\{{1,4}}+["']) (?: (?!\\{{1,4}}["']). )*+ (?: \\{{1,4}}+["'] )?+
        | \{{ [^}}]*+ \}}?+ \S*+
        | \[ [^\]]*+ \]?+ \S*+
        | (?: digest | aws4[\w-]{{0,20}}+ ) \s [^\r\n]*+
        | (?: (?:bearer|basic|token|apikey|negotiate|ntlm) \s{{1,8}}+ (?=\S) )?+ \S++
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_OPTION: Final = re.compile(
    rf"(?i)(?<![\w-])(--[\w-]{{0,40}}?{_WORD}[\w-]{{0,20}}+\s{{1,8}}+)(?!-)\S++"
)
_BARE: Final = re.compile(
    r"(?i:\b(bearer\s{1,8}+)(?=[\w.~+/-]*\d)[\w.~+/=-]{8,}+)"
    r"|(?<![\w-])(?:"
    r"[srp]k-[\w-]{16,}+"
    r"|gh[pousr]_\w{20,}+"
    r"|xox[a-z]-[\w-]{10,}+"
    r"|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]{8,}+\.[\w-]++\.[\w-]*+"
    r")"
)
"""Tokens that are known by their shape."""

_URL: Final = re.compile(r"://\S*+")
_AFTER_USER: Final = re.compile(r"[:/?#@]")
_PATH: Final = re.compile(r"[/?#]")
_COUNTED: Final = re.compile(r"(?i)tokens|token_(?:count|limit|usage)")
"""A language model's tokens are no secret as long as they are a number."""

_DEPTH: Final = 8


def redact(text: str) -> str:
    """Return the text without credentials.

    Removed are: the user part of a URL, what follows the name of a secret (``password=x``,
    ``"api_key": "x"``, ``Authorization: Bearer x``, ``IDENTIFIED BY 'x'``, ``--password x``) and
    tokens that are known by their shape. The names stay.
    """
    text = _NAMED.sub(_without_value, text)
    text = _OPTION.sub(rf"\1{REMOVED}", text)
    text = _BARE.sub(lambda found: (found[1] or "") + REMOVED, text)
    return _URL.sub(_without_user, text)


def plain_text(text: str) -> str:
    """Return the text as a true `str` that UTF-8 can hold: lone surrogates become ``?``."""
    if text.isascii():
        return str.__str__(text)
    return text.encode("utf-8", "replace").decode("utf-8")


def redacted(value: Any, name: str = "", depth: int = 0) -> Any:
    """Return the value as what JSON and msgpack hold, at any depth and without credentials."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and _COUNTED.search(name):
        return _number(value)
    if re.search(_WORD, name, re.IGNORECASE):
        return REMOVED
    if isinstance(value, int | float):
        return _number(value)
    if isinstance(value, Mapping | list | tuple) and depth == _DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {
            plain_text(redact(str(key))): redacted(item, str(key), depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(item, "", depth + 1) for item in value]
    return plain_text(redact(str(value)))


def _number(value: float) -> int | float | str:
    """Return a plain number, or its text where there is no such number on the wire."""
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**64 else hex(value)
    return float(value) if math.isfinite(value) else str(float(value))


def _without_value(found: re.Match[str]) -> str:
    value, name = found["value"], found["name"]
    if _COUNTED.search(name) and value.rstrip(",;)]}").isdigit():
        return found[0]
    quote = found["quote"] or found["escaped"] or ""
    return f"{name}{found['between']}{quote}{REMOVED}{quote}"


def _without_user(found: re.Match[str]) -> str:
    """Remove the user part of every URL in a run of text without spaces.

    A password may hold ``:``, ``/`` and ``@`` as people write them, so it ends at the last ``@``.
    """
    run = found[0]
    last = run.rfind("@")
    kept, done = [], 0
    start = 3
    while start >= 3:
        after = _AFTER_USER.search(run, start)
        if after is None or after.start() > last:
            break
        if after[0] in ":@":
            end = last
            if after[0] == "@":
                path = _PATH.search(run, after.end())
                end = run.rfind("@", start, path.start() if path else len(run))
            kept.append(run[done:start])
            done = start = end + 1
        start = run.find("://", start) + 3
    return "".join([*kept, run[done:]])

"""The command ``otel-dbevents dlq``: look at the dead letters, try them again, or drop them."""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from otel_dbevents.bus.redis.connecting import RedisSetupError, connect, explained, let_go
from otel_dbevents.bus.redis.dead import MENDS, DeadLetters, Letter
from otel_dbevents.bus.redis.entries import EntryError, Unpacker, verified
from otel_dbevents.config import Config, ConfigError
from otel_dbevents.shipping import keys_of

_ID: Final = re.compile(r"[0-9]{1,19}-[0-9]{1,19}")
"""Whole: Redis takes the part before the line for all of that millisecond."""
_UNSEEN: Final = frozenset(
    {"signature", "unsigned", "unknown_key", "stale", "version", "malformed", "again"}
)
"""What died of these may be anybody's words: none of them are shown."""
_HIDDEN: Final = frozenset({"details", "attributes", "message", "error_message"})
"""What an event may hold of the application's own words."""


def run(options: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    try:
        config = Config()
        if not config.ships:
            raise ConfigError(
                "there are no dead letters without a Redis: set OTEL_DBEVENTS_BUS_URL, for "
                "example OTEL_DBEVENTS_BUS_URL=redis://localhost:6379/0"
            )
        client = connect(config.bus_url)
    except (ConfigError, RedisSetupError) as error:
        return _fail(str(error))
    letters = DeadLetters(client, config.stream, keys_of(config))
    act: Callable[[DeadLetters, argparse.Namespace], int] = _ACTS[options.act]
    try:
        return act(letters, options)
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - whatever the package or the system raises
        what, mend = explained(error, config.bus_url)
        return _fail(f"{what}: {mend}")
    finally:
        let_go(client)


def _list(letters: DeadLetters, options: argparse.Namespace) -> int:
    found = (each for each in letters.all() if options.reason in (None, each.reason))
    if options.json:
        _say(json.dumps([_facts(each) for each in found], indent=2))
        return 0
    reasons: Counter[str] = Counter()
    for each in found:
        if not reasons:
            _say(f"{'ID':<20} {'WHEN':<20} {'REASON':<14} {'STAGE':<8} {'EVENTS':>6} TRIES HANDLER")
        reasons[each.reason] += 1
        facts = {name: _plain(value) for name, value in _facts(each).items()}
        _say(
            f"{facts['id']:<20} {facts['when']:<20} {facts['reason']:<14} {facts['stage']:<8} "
            f"{facts['events']:>6} {facts['tries']:>5} {facts['handler'] or '-'}"
        )
    if not reasons:
        _say("there are no dead letters")
    for reason, number in reasons.most_common():
        mend = MENDS.get(reason, "mend the handler, then retry")
        _say(f"{number} x {_plain(reason)}: {mend}")
    return 0


def _show(letters: DeadLetters, options: argparse.Namespace) -> int:
    letter = _find(letters, options.id)
    if letter is None:
        return 1
    facts: dict[str, Any] = {
        **_facts(letter),
        "mend": letter.mend,
        "fields": {_plain(name.decode(errors="replace")): len(value)
                   for name, value in letter.original.items()},
        "contents": list(_events(letter)),
    }  # fmt: skip
    if options.json:
        _say(json.dumps(facts, indent=2))
        return 0
    fields, contents = facts.pop("fields"), facts.pop("contents")
    for name, value in facts.items():
        _say(f"{name:<10} {_plain(value)}")
    _say("fields     " + ", ".join(f"{name} ({size} bytes)" for name, size in fields.items()))
    for each in contents:
        _say(json.dumps(each))
    return 0


def _retry(letters: DeadLetters, options: argparse.Namespace) -> int:
    return _each(letters, options, letters.retry, "sent back")


def _drop(letters: DeadLetters, options: argparse.Namespace) -> int:
    return _each(letters, options, letters.drop, "dropped")


def _each(
    letters: DeadLetters, options: argparse.Namespace, do: Callable[[Letter], None], done: str
) -> int:
    """Do it with one, or with all that there were at the beginning."""
    if options.id is not None:
        letter = _find(letters, options.id)
        if letter is None:
            return 1
        chosen: Iterable[Letter] = [letter]
    else:
        chosen = (each for each in letters.all() if options.reason in (None, each.reason))
    ids = []
    for each in chosen:
        do(each)
        ids.append(each.id)
    if not ids and not options.all:
        sys.stderr.write(f"otel-dbevents dlq: no letter has the reason {options.reason!r}\n")
    _say(json.dumps({done.replace(" ", "_"): ids}) if options.json else f"{len(ids)} {done}")
    return 0 if ids or options.all else 1


def _find(letters: DeadLetters, id_: str) -> Letter | None:
    letter = letters.find(id_) if _ID.fullmatch(id_) else None
    if letter is None:
        sys.stderr.write(
            f"otel-dbevents dlq: there is no letter {_plain(id_)!r}: otel-dbevents dlq list has "
            "the IDs, each to be given whole\n"
        )
    return letter


def _facts(letter: Letter) -> dict[str, Any]:
    """Return what may be shown of a letter, as plain values."""
    when = datetime.fromtimestamp(letter.at_s, UTC)
    return {
        "id": letter.id,
        "when": f"{when:%Y-%m-%dT%H:%M:%SZ}",
        "reason": letter.reason,
        "stage": letter.stage,
        "handler": letter.handler,
        "events": letter.events,
        "tries": letter.tries,
        "entry": letter.entry_id,
    }


def _events(letter: Letter) -> Iterator[dict[str, Any]]:
    """Return the events that died, by their places in the entry and without values.

    None where nobody knows whose words they are. Of one that cannot be read only its place is said.
    """
    if letter.reason in _UNSEEN:
        return
    try:
        found, bad = Unpacker().places(verified(letter.retry_fields, "", None))
    except EntryError:
        return
    for place in letter.chosen or sorted([*found, *bad]):
        if place in found:
            yield {"place": place, **_without_values(found[place].to_dict())}
        else:
            yield {"place": place, "unreadable": True}


def _without_values(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: "..." if name in _HIDDEN and item else _without_values(item)
            for name, item in value.items()
        }
    return [_without_values(item) for item in value] if isinstance(value, list) else value


def _plain(value: object) -> str:
    """Return it as one line that a terminal does not obey."""
    return "".join(each if each.isprintable() else "?" for each in str(value))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def _fail(text: str) -> int:
    sys.stderr.write(f"otel-dbevents dlq: {text}\n")
    return 2


_ACTS: Final[dict[str, Callable[[DeadLetters, argparse.Namespace], int]]] = {
    "list": _list,
    "show": _show,
    "retry": _retry,
    "drop": _drop,
}

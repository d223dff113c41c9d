"""What is said of a value that is refused: the setting, what it takes, and an example.

A secret's value is never in it.
"""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from otel_dbevents.config.names import nearest, variable
from otel_dbevents.config.values import LEAST_KEY_BYTES, EventLogTarget, Langfuse, is_quoted
from otel_dbevents.events import Environment

_BUS_URL = "memory://, redis://host:6379/0, rediss://host:6379/0 or unix:///path/of/the/socket"
_KEY = f"a text of {LEAST_KEY_BYTES} bytes or more, the same in the application and the sidecar"
_TAKES = {
    "bus_url": _BUS_URL,
    "signing_key": _KEY,
    "signing_key_previous": _KEY,
    "rate_limit": "events a second by the event's name, or * for each that is not named",
    "stream": "a name of letters, digits and -_.:",
}
_SECRET: Final = frozenset({"bus_url", "signing_key", "signing_key_previous"})
"""What is never shown, or not as a whole."""


class ConfigError(ValueError):
    """One or more settings are wrong. The message tells each, what it takes, and an example."""


def explained(
    error: ValidationError, settings: type[BaseSettings], given: frozenset[str]
) -> ConfigError:
    """Return what is wrong in the words of the settings; ``given`` are those of an argument."""
    lines = [
        _line(str(found["loc"][0]), found["type"] == "extra_forbidden", found, settings, given)
        for found in error.errors(include_url=False, include_context=False)
    ]
    if len(lines) == 1:
        return ConfigError(lines[0])
    return ConfigError("\n".join([f"{len(lines)} settings of otel_dbevents are wrong:", *lines]))


def taken_by(name: str, settings: type[BaseSettings]) -> str:
    """Say which values the setting ``name`` takes."""
    if name in _TAKES:
        return _TAKES[name]
    rule: dict[str, Any] = settings.model_json_schema()["properties"][name]
    rule = rule.get("anyOf", [rule])[0]
    if "$ref" in rule:
        kinds = {kind.__name__: kind for kind in (Environment, EventLogTarget, Langfuse)}
        return "one of " + ", ".join(kinds[rule["$ref"].rpartition("/")[2]])
    if rule["type"] == "boolean":
        return "true or false"
    unit = "seconds" if name.endswith("_s") else "milliseconds"
    number = "a whole number" if rule["type"] == "integer" else f"a number of {unit}"
    return f"{number} from {rule['minimum']} to {rule['maximum']}"


def _line(
    name: str,
    unknown: bool,
    found: Mapping[str, Any],
    settings: type[BaseSettings],
    given: frozenset[str],
) -> str:
    if unknown:
        near = nearest(name, sorted(settings.model_fields))
        return f"{name} is not a setting of otel_dbevents{near}"
    field = settings.model_fields[name]
    example = (field.examples or ["false"])[0]
    got = repr(found["input"])
    got = got if len(got) <= 60 else got[:57] + "..."
    if name in _SECRET:
        got = "another value, which is not shown"
    if is_quoted(found["input"]):
        got += " (its quotes are part of it: leave them away)"
    elif isinstance(found["input"], str) and found["input"].endswith(("\r", "\n")):
        got += " (it ends in a line end: save its file with Unix line ends)"
    if name in given:
        shown, example = name, f"{name}={_literal(example)}"
    else:
        shown = variable(name)
        example = f"{shown}={example}"
    return f"{shown} takes {taken_by(name, settings)}, but got {got}; for example {example}"


def _literal(example: str) -> str:
    """Return the example as it is written in Python."""
    if example in ("true", "false"):
        return example.capitalize()
    return example if example.replace(".", "").isdigit() else f'"{example}"'

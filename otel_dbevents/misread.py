"""What is wrong with a variable or a file of OpenTelemetry's, said without what stands in it.

A piece of a URL that cannot be taken apart may be one of a password, and what a file has in the
wrong place may be a key. Those who refuse them cite them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from otel_dbevents.redaction import redact

_READER: Final = "opentelemetry.configuration.file._loader"
"""Who logs a file that it cannot parse, with the line."""


class UnusableFileError(ValueError):
    """An ``OTEL_CONFIG_FILE`` cannot be used. The message says why, and cites nothing of it."""


def load_file(path: str) -> Any:
    """Return what stands in an ``OTEL_CONFIG_FILE``, as the package that reads it has it.

    Raises `ImportError` where that is not installed, `UnusableFileError` for what is no such file.
    """
    reader: Any = import_module("opentelemetry.configuration")
    try:
        with _silent(logging.getLogger(_READER)):
            return reader.load_config_file(path)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file
        raise UnusableFileError(f"OTEL_CONFIG_FILE is not valid: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """Return what is wrong.

    Of an error of a file's schema only the place is told, of one of YAML the line, of a URL's that
    it is one.
    """
    for below in (error, error.__cause__):
        place: Any = getattr(below, "absolute_path", None)
        if place is not None:
            return f"what stands at {'.'.join(map(str, place)) or 'the top'} is not allowed there"
        mark: Any = getattr(below, "problem_mark", None)
        if mark is not None:
            return f"it cannot be parsed in line {mark.line + 1}"
    if isinstance(error, ValueError) and "Port " in str(error):
        return "a URL has no number where its port stands"
    return redact(str(error) or type(error).__name__)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before

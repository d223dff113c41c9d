"""What is installed beside us: versions that cannot work, and another instrumentation at work.

Imports neither SQLAlchemy nor OpenTelemetry, so that it can say what is wrong with them.
"""

import logging
import re
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any, Final

_CONTRIB: Final = "opentelemetry.instrumentation.sqlalchemy"
_VERSION: Final = re.compile(r"^Version: *(\S+)", re.MULTILINE)
_log = logging.getLogger("otel_dbevents")
_warned = False


def has_gil() -> bool:
    """Whether one thread runs at a time, as everywhere but in a free-threaded interpreter."""
    ask: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return ask()


class UnsupportedVersionError(RuntimeError):
    """SQLAlchemy or the OpenTelemetry SDK is missing or too old. The message names the mend."""


class _Needed:
    """A package that must be there: from which version on, and up to which major it is known."""

    def __init__(self, package: str, name: str, least: tuple[int, ...], known: int) -> None:
        self.package = package
        self.name = name
        self.least = least
        self.known = known

    @property
    def requirement(self) -> str:
        return f"{self.package}>={'.'.join(map(str, self.least))}"


_NEEDED: Final = (
    _Needed("sqlalchemy", "SQLAlchemy", (2, 0, 10), 2),
    _Needed("opentelemetry-sdk", "the OpenTelemetry SDK", (1, 40), 1),
)
_LANGFUSE: Final = _Needed("langfuse", "Langfuse's client", (4, 7), 5)


def check_versions() -> None:
    """Raise `UnsupportedVersionError` when something needed is missing or too old.

    A newer major version than the known ones gets a warning, and is tried.
    """
    problems = [problem for needed in _NEEDED if (problem := _problem(needed))]
    if problems:
        raise UnsupportedVersionError(". ".join(problems))


def installed(package: str) -> str | None:
    """Return the version of ``package`` that is installed, or None."""
    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    # The one line of it, as the standard library reads all of it with its parser of e-mails.
    said = _VERSION.search(found.read_text("METADATA") or "")
    return found.version if said is None else said[1]


def langfuse_problem() -> str | None:
    """Return what is wrong with the Langfuse client that is installed, with the mend, or None."""
    found = installed(_LANGFUSE.package)
    mend = "pip install 'otel-dbevents[langfuse]'"
    if found is None:
        return f"{_LANGFUSE.name} is not installed: {mend}"
    if _numbers(found) < _LANGFUSE.least:
        return f"{_LANGFUSE.requirement} is needed, and {found} is installed: {mend}"
    return None


def contrib_active() -> bool:
    """Whether OpenTelemetry's own SQLAlchemy instrumentation is at work in this process."""
    instrumentor = getattr(sys.modules.get(_CONTRIB), "SQLAlchemyInstrumentor", None)
    instance = getattr(instrumentor, "_instance", None)
    return bool(getattr(instance, "_is_instrumented_by_opentelemetry", False)) or _patched()


def warn_if_contrib_active() -> bool:
    """Say once in this process that both instrumentations are at work; True when they are.

    To be asked again later, as the other may be turned on after us.
    """
    global _warned
    active = contrib_active()
    if active and not _warned:
        _warned = True
        _log.warning(
            "opentelemetry-instrumentation-sqlalchemy is active too, so each query gives two "
            "spans: set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=sqlalchemy, or uninstall that "
            "package, or do not call SQLAlchemyInstrumentor().instrument()"
        )
    return active


def _problem(needed: _Needed) -> str | None:
    found = installed(needed.package)
    mend = f"pip install '{needed.requirement}'"
    if found is None:
        return f"otel_dbevents needs {needed.name}, which is not installed: {mend}"
    numbers = _numbers(found)
    if numbers < needed.least:
        return f"otel_dbevents needs {needed.requirement}, and {found} is installed: {mend}"
    if numbers[0] > needed.known:
        _log.warning(
            "otel_dbevents does not know %s %s yet: if queries are missing, look for a newer "
            "otel-dbevents",
            needed.name,
            found,
        )
    return None


def _numbers(found: str) -> tuple[int, ...]:
    """Return major, minor and patch of a version."""
    return tuple(int(number) for number in [*re.findall(r"\d+", found), "0", "0"][:3])


def _patched() -> bool:
    """Whether a patch of the other instrumentation stands on SQLAlchemy, whoever put it there."""
    sqlalchemy: Any = sys.modules.get("sqlalchemy")
    engine: Any = getattr(sys.modules.get("sqlalchemy.engine"), "Engine", None)
    for patched in (getattr(sqlalchemy, "create_engine", None), getattr(engine, "connect", None)):
        wrapper = getattr(patched, "_self_wrapper", None)
        if str(getattr(wrapper, "__module__", "")).startswith(_CONTRIB):
            return True
    return False

"""A database of the user's: whether its URL is one, its driver is there, and it answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from otel_dbevents.check import report
from otel_dbevents.check.report import Finding, short, within

_LEAST_SECRET: Final = 4
_NO_URL: Final = "not a URL that SQLAlchemy knows"
_SUCH: Final = "give a URL such as postgresql+psycopg://user:password@host/name or sqlite:///file"
_ENCODE: Final = "in the password write %2F for /, %40 for @ and %3A for :"
_CHECK_URL: Final = "check the URL, and that the database runs and lets you in"
_CHECK_SLOW: Final = "see what keeps it busy, or raise OTEL_DBEVENTS_HEALTH_DEGRADED_MS"


def look_at(url: str) -> Finding:
    """Connect to a database and leave it. Nothing is written, and no file is made."""
    seconds = report.PATIENCE
    silent = Finding(
        "database",
        "wrong",
        f"no answer in {seconds:.0f} s",
        "check the host, the port and the firewall",
    )
    return within(seconds, lambda: _look_at(url), silent)


def _look_at(text: str) -> Finding:
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(text)
        is_async = url.get_dialect().is_async
    except NoSuchModuleError as error:
        return Finding("database", "wrong", f"{_NO_URL}: {short(error)}", _SUCH)
    except ArgumentError:  # its text may be the URL
        return Finding("database", "wrong", f"{_NO_URL}: it cannot be parsed", _SUCH)
    except ValueError:
        return Finding("database", "wrong", f"{_NO_URL}: its port is no number", _ENCODE)
    where = str(URL.create(url.drivername, None, None, url.host, url.port, url.database))
    file = url.database or ":memory:"
    is_file = url.get_backend_name() == "sqlite" and not file.startswith((":", "file:"))
    if is_file and not Path(file).exists():  # connecting would make it
        return Finding("database", "wrong", f"{where}: no such file", "check the path")
    try:
        engine = asyncio.run(_connect_async(url)) if is_async else _connect(url)
    except ModuleNotFoundError as error:
        return Finding("database", "wrong", f"no driver: {error}", f"pip install {error.name}")
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        said = short(getattr(error, "orig", None) or error, *_secrets(url))
        return Finding("database", "wrong", f"{where} cannot be reached: {said}", _CHECK_URL)
    return _state(where, engine)


def _secrets(url: Any) -> Iterator[object]:
    """Return what a driver may cite of a URL. A value that is very short is no secret."""
    yield from (url.password, url.username)
    for given in url.query.values():
        for each in (given,) if isinstance(given, str) else given:
            if len(each) >= _LEAST_SECRET:
                yield each


def _state(where: str, engine: Any) -> Finding:
    """Say what a health check says of a database that lets us in."""
    from otel_dbevents.health import check_database_health

    event = check_database_health(engine, timeout_ms=report.PATIENCE * 1e3 / 4)
    text = f"{where} answers in {event.latency_ms:.1f} ms: {event.status}"
    if event.is_healthy:
        return Finding("database", "ok", text)
    why = (event.details or {}).get("error.text")
    text = f"{where} lets us in, but does not answer: {why}" if why else text
    return Finding("database", "warning", text, _CHECK_SLOW)


def _connect(url: Any) -> Any:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    engine = create_engine(url, poolclass=NullPool)
    with engine.connect():
        return engine


async def _connect_async(url: Any) -> Any:
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(url, poolclass=NullPool)
    async with engine.connect():
        return engine

"""What ``otel-dbevents check`` looks at: versions, settings, collectors, a database.

In: the environment and, if given, a database URL. Out: `Report`. Nothing in it is a secret: no
header, user name, password or query string of a URL. The check sends one empty export to each
collector and nothing else; no database is written to or made.
"""

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from otel_dbevents.compat import UnsupportedVersionError, check_versions, installed
from otel_dbevents.config import Config, ConfigError, variable
from otel_dbevents.events import redact
from otel_dbevents.unreachable import EXPORTER_LOGGERS

_PACKAGES: Final = ("otel-dbevents", "sqlalchemy", "opentelemetry-sdk", "opentelemetry-distro")
_CONTRIB: Final = "opentelemetry-instrumentation-sqlalchemy"
_SIGNALS: Final = ("traces", "metrics", "logs")
_PATIENCE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. ``mend`` says what to do where it is not well."""

    topic: str
    status: Literal["ok", "warning", "wrong"]
    text: str
    mend: str = ""


@dataclass(slots=True)
class Report:
    """All findings, the versions, and the settings with where each came from."""

    versions: dict[str, str | None]
    settings: dict[str, dict[str, Any]]
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; a warning is not."""
        return not any(finding.status == "wrong" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {"ok": self.ok, **asdict(self)}


def examine(database: str | None = None) -> Report:
    """Look at everything; at the database too, when its URL is given."""
    report = Report({name: installed(name) for name in _PACKAGES}, {})
    report.findings += _versions(report.versions)
    report.findings += _settings(report.settings)
    report.findings += _contrib()
    report.findings += _telemetry()
    if database is not None:
        report.findings.append(_within(_PATIENCE, lambda: _database(database), _silent_database))
    return report


def _versions(versions: dict[str, str | None]) -> Iterator[Finding]:
    try:
        check_versions()
    except UnsupportedVersionError as error:
        text, _, mend = str(error).rpartition(": ")
        yield Finding("versions", "wrong", text, mend)
    else:
        found = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
        yield Finding("versions", "ok", found)


def _settings(settings: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    try:
        config = Config()
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("settings", "wrong", line, "correct the variable, or unset it")
        return
    for name in Config.model_fields:
        value, origin = getattr(config, name), config.origin(name)
        settings[name] = {"value": value, "from": origin, "variable": variable(name)}
    changed = sum(found["from"] != "default" for found in settings.values())
    yield Finding("settings", "ok", f"{changed} of {len(settings)} set, the others by default")
    if not config.enabled:
        mend = f"unset {variable('enabled')}"
        yield Finding("settings", "warning", "turned off: nothing is observed", mend)


def _contrib() -> Iterator[Finding]:
    disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    if installed(_CONTRIB) and not {"sqlalchemy", "*"} & {name.strip() for name in disabled}:
        yield Finding(
            "contrib",
            "warning",
            f"{_CONTRIB} is installed: under opentelemetry-instrument each query gives two spans",
            "set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=sqlalchemy",
        )


def _telemetry() -> Iterator[Finding]:
    try:
        from otel_dbevents.exporters import sdk_disabled
    except ImportError:
        return  # the versions' finding says it
    if sdk_disabled():
        yield Finding("telemetry", "warning", "OTEL_SDK_DISABLED is true: nothing is emitted")
        return
    if path := os.environ.get("OTEL_CONFIG_FILE"):
        yield _config_file(path)
        return
    if os.environ.get("OTEL_TRACES_SAMPLER", "").strip().endswith("always_off"):
        mend = "unset OTEL_TRACES_SAMPLER"
        yield Finding("traces", "warning", "the sampler drops every new trace", mend)
    for signal in _SIGNALS:
        yield from _signal(signal)


def _config_file(path: str) -> Finding:
    try:
        from importlib import import_module

        import_module("opentelemetry.configuration").load_config_file(path)
    except ImportError:
        mend = "pip install opentelemetry-configuration"
        return Finding("telemetry", "wrong", "OTEL_CONFIG_FILE is set and cannot be read", mend)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file
        text = f"OTEL_CONFIG_FILE is not valid: {_short(error)}"
        return Finding("telemetry", "wrong", text, "correct the file")
    return Finding("telemetry", "ok", "OTEL_CONFIG_FILE is valid; it says where telemetry goes")


def _signal(signal: str) -> Iterator[Finding]:
    from opentelemetry.sdk import _configuration as sdk

    from otel_dbevents.exporters import exporter_names

    try:
        names = exporter_names(signal)
        found = sdk._import_exporters(*(names if one == signal else [] for one in _SIGNALS))
        kinds: dict[str, Any] = found[_SIGNALS.index(signal)]
        if not kinds:
            yield Finding(signal, "warning", f"off, by OTEL_{signal.upper()}_EXPORTER")
        for name, kind in kinds.items():
            if "otlp" in name:
                yield _collector(signal, name, kind(timeout=_PATIENCE))
            else:
                yield Finding(signal, "ok", f"go to the exporter {name}")
    except Exception as error:  # noqa: BLE001 - whatever a variable holds
        mend = f"correct OTEL_{signal.upper()}_EXPORTER, or the OTEL_EXPORTER_OTLP_* named"
        yield Finding(signal, "wrong", f"cannot be set up: {_short(error)}", mend)


def _collector(signal: str, name: str, exporter: Any) -> Finding:
    protocol = "grpc" if name.endswith("grpc") else "http/protobuf"
    host, port = address(str(getattr(exporter, "_endpoint", "")), protocol)
    where = f"{host}:{port} ({protocol})"
    try:
        socket.create_connection((host, port), timeout=_PATIENCE / 2).close()
    except OSError as error:
        reason = error.strerror or _short(error)
        mend = "start a collector there, or name another with OTEL_EXPORTER_OTLP_ENDPOINT"
        return Finding(signal, "wrong", f"nothing answers at {where}: {reason}", mend)
    silent = Finding(signal, "wrong", f"{where} answers nothing in {_PATIENCE:.0f} s", _port(port))
    return _within(_PATIENCE + 1, lambda: _export(signal, where, port, exporter), silent)


def address(endpoint: str, protocol: str) -> tuple[str, int]:
    """Return host and port of an exporter's endpoint: a URL, or ``host:port`` as gRPC has it."""
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    usual = 80 if parts.scheme == "http" and protocol != "grpc" else 443
    return parts.hostname or "localhost", parts.port or usual


def _export(signal: str, where: str, port: int, exporter: Any) -> Finding:
    """Have an empty batch taken, as only a real export shows protocol, TLS and credentials."""
    from opentelemetry.sdk.metrics.export import MetricsData

    with _Heard() as heard:
        taken = exporter.export(MetricsData([]) if signal == "metrics" else [])
    if taken.name == "SUCCESS":
        return Finding(signal, "ok", f"{where} takes them")
    return Finding(signal, "wrong", f"{where} refuses them: {heard.last}", _port(port))


def _port(port: int) -> str:
    other = {4317: "grpc", 4318: "http/protobuf"}.get(port)
    if other:
        return f"port {port} is usually {other}: set OTEL_EXPORTER_OTLP_PROTOCOL={other}"
    return "check OTEL_EXPORTER_OTLP_PROTOCOL, _HEADERS and _CERTIFICATE, and the collector's log"


class _Heard(logging.Handler):
    """Keeps the last thing that the exporters said, and keeps it from the terminal."""

    last: str = "no reason given"

    def __enter__(self) -> "_Heard":
        self._logger = logging.getLogger("opentelemetry.exporter")
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        self._filters = [(one, one.filters) for one in map(logging.getLogger, EXPORTER_LOGGERS)]
        for exporter, _ in self._filters:
            exporter.filters = []
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated
        for exporter, filters in self._filters:
            exporter.filters = filters

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.last = _short(record.getMessage())


_silent_database = Finding(
    "database",
    "wrong",
    f"no answer in {_PATIENCE:.0f} s",
    "check the host, the port and the firewall",
)


_CHECK_URL: Final = "check the URL, and that the database runs and lets you in"


def _database(text: str) -> Finding:
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = make_url(text)
        is_async = url.get_dialect().is_async
    except (ArgumentError, NoSuchModuleError) as error:
        mend = "give a URL such as postgresql+psycopg://user:password@host/name or sqlite:///file"
        return Finding(
            "database", "wrong", f"not a URL that SQLAlchemy knows: {_short(error)}", mend
        )
    where = str(URL.create(url.drivername, None, None, url.host, url.port, url.database))
    file = url.database or ":memory:"
    is_file = url.get_backend_name() == "sqlite" and not file.startswith((":", "file:"))
    if is_file and not Path(file).exists():  # connecting would make it
        return Finding("database", "wrong", f"{where}: no such file", "check the path")
    try:
        asyncio.run(_connect_async(url)) if is_async else _connect(url)
    except ModuleNotFoundError as error:
        return Finding("database", "wrong", f"no driver: {error}", f"pip install {error.name}")
    except Exception as error:  # noqa: BLE001 - each driver has errors of its own
        said = _short(getattr(error, "orig", None) or error, url.password, url.username)
        return Finding("database", "wrong", f"{where} cannot be reached: {said}", _CHECK_URL)
    return Finding("database", "ok", f"{where} answers")


def _connect(url: Any) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with create_engine(url, poolclass=NullPool).connect():
        pass


async def _connect_async(url: Any) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    async with create_async_engine(url, poolclass=NullPool).connect():
        pass


def _short(said: object, *secrets: object) -> str:
    """Return the first line of what was said, without secrets."""
    line = (str(said).strip() or type(said).__name__).splitlines()[0]
    for secret in filter(None, secrets):
        line = line.replace(str(secret), "***")
    line = redact(line)
    return line if len(line) <= 200 else line[:197] + "..."


def _within(seconds: float, look: Callable[[], Finding], otherwise: Finding) -> Finding:
    """Return what ``look`` finds, or ``otherwise`` when it takes longer."""
    found: list[Finding] = []
    looking = threading.Thread(target=lambda: found.append(look()), daemon=True)
    looking.start()
    looking.join(seconds)
    return found[0] if found else otherwise

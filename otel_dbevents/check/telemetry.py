"""Where traces, metrics and logs go, and whether they are taken there."""

import logging
import os
import socket
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from otel_dbevents.check import report
from otel_dbevents.check.report import Finding, short, within
from otel_dbevents.unreachable import EXPORTER_LOGGERS

SIGNALS: Final = ("traces", "metrics", "logs")


class Telemetry:
    """Looks at the three signals. ``send``: a probe of each goes all the way, instead of nothing.

    ``taken`` has the signals that a collector took, ``hosts`` the collectors' hosts.
    """

    def __init__(self, *, send: bool = False) -> None:
        self._send = send
        self.taken: set[str] = set()
        self.hosts: list[str] = []

    def look(self) -> Iterator[Finding]:
        """Look at everything that the ``OTEL_*`` variables say."""
        try:
            from otel_dbevents.exporters import sdk_disabled
        except ImportError:
            return  # the versions' finding says it
        if sdk_disabled():
            text, mend = "OTEL_SDK_DISABLED is true: nothing is emitted", "unset OTEL_SDK_DISABLED"
            yield Finding("telemetry", "warning", text, mend)
            return
        if path := os.environ.get("OTEL_CONFIG_FILE"):
            yield _config_file(path)
            return
        yield _resource()
        if os.environ.get("OTEL_TRACES_SAMPLER", "").strip().endswith("always_off"):
            mend = "unset OTEL_TRACES_SAMPLER"
            yield Finding("traces", "warning", "the sampler drops every new trace", mend)
        for signal in SIGNALS:
            yield from self._signal(signal)

    def _signal(self, signal: str) -> Iterator[Finding]:
        from opentelemetry.sdk import _configuration as sdk

        from otel_dbevents.exporters import exporter_names

        try:
            names = exporter_names(signal)
            found = sdk._import_exporters(*(names if one == signal else [] for one in SIGNALS))
            kinds: dict[str, Any] = found[SIGNALS.index(signal)]
            if not kinds:
                yield Finding(signal, "warning", f"off, by OTEL_{signal.upper()}_EXPORTER")
            for name, kind in kinds.items():
                if "otlp" in name:
                    yield self._collector(signal, name, kind(timeout=report.PATIENCE))
                else:
                    yield Finding(signal, "ok", f"go to the exporter {name}")
        except Exception as error:  # noqa: BLE001 - whatever a variable holds
            mend = f"correct OTEL_{signal.upper()}_EXPORTER, or the OTEL_EXPORTER_OTLP_* named"
            yield Finding(signal, "wrong", f"cannot be set up: {short(error)}", mend)

    def _collector(self, signal: str, name: str, exporter: Any) -> Finding:
        protocol = "grpc" if name.endswith("grpc") else "http/protobuf"
        host, port = address(str(getattr(exporter, "_endpoint", "")), protocol)
        where = f"{host}:{port} ({protocol})"
        try:
            socket.create_connection((host, port), timeout=report.PATIENCE / 2).close()
        except OSError as error:
            reason = error.strerror or short(error)
            mend = "start a collector there, or name another with OTEL_EXPORTER_OTLP_ENDPOINT"
            return Finding(signal, "wrong", f"nothing answers at {where}: {reason}", mend)
        if host not in self.hosts:
            self.hosts.append(host)
        seconds = report.PATIENCE
        silent = Finding(
            signal, "wrong", f"{where} answers nothing in {seconds:.0f} s", mend_port(port)
        )
        return within(seconds + 1, lambda: self._export(signal, where, port, exporter), silent)

    def _export(self, signal: str, where: str, port: int, exporter: Any) -> Finding:
        """Have a batch taken, as only a real export shows protocol, TLS and credentials."""
        from otel_dbevents.check.probe import nothing, probe

        with _Heard() as heard:
            taken = exporter.export(probe(signal) if self._send else nothing(signal))
        if taken.name == "SUCCESS":
            self.taken.add(signal)
            return Finding(signal, "ok", f"{where} takes them")
        return Finding(signal, "wrong", f"{where} refuses them: {heard.last}", mend_port(port))


def _config_file(path: str) -> Finding:
    try:
        from importlib import import_module

        import_module("opentelemetry.configuration").load_config_file(path)
    except ImportError:
        mend = "pip install opentelemetry-configuration"
        return Finding("telemetry", "wrong", "OTEL_CONFIG_FILE is set and cannot be read", mend)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with the file
        text = f"OTEL_CONFIG_FILE is not valid: {short(error)}"
        return Finding("telemetry", "wrong", text, "correct the file")
    return Finding("telemetry", "ok", "OTEL_CONFIG_FILE is valid; it says where telemetry goes")


def _resource() -> Finding:
    """Whether the backends can tell this service from others."""
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    name = str(Resource.create().attributes.get(SERVICE_NAME, ""))
    if name and not name.startswith("unknown_service"):
        return Finding("service", "ok", short(name))
    mend = "set OTEL_SERVICE_NAME=my-service"
    return Finding("service", "warning", "has no name, and backends show unknown_service", mend)


def address(endpoint: str, protocol: str) -> tuple[str, int]:
    """Return host and port of an exporter's endpoint: a URL, or ``host:port`` as gRPC has it."""
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    usual = 80 if parts.scheme == "http" and protocol != "grpc" else 443
    return parts.hostname or "localhost", parts.port or usual


def mend_port(port: int) -> str:
    """Say what to do when what listens at a port takes nothing."""
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
        self.last = short(record.getMessage())

"""Where traces, metrics and logs go, and whether they are taken there."""

import os
import socket
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from otel_dbevents.check import config_file, report
from otel_dbevents.check.heard import Heard
from otel_dbevents.check.report import Finding, short, within
from otel_dbevents.check.sampler import look_at_sampler

SIGNALS: Final = ("traces", "metrics", "logs")


class Telemetry:
    """Looks at the three signals. ``send``: a probe of each goes all the way, instead of nothing.

    ``taken`` has the signals that a collector took, ``hosts`` the collectors' hosts.
    """

    def __init__(self, *, send: bool = False) -> None:
        self._send = send
        self.taken: set[str] = set()
        self.hosts: list[str] = []
        self._named_in = "with OTEL_EXPORTER_OTLP_ENDPOINT"

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
            yield from self._file(path)
            return
        yield _resource()
        yield from look_at_sampler()
        for signal in SIGNALS:
            yield from self._signal(signal)

    def _signal(self, signal: str) -> Iterator[Finding]:
        from opentelemetry.sdk import _configuration as sdk

        from otel_dbevents.exporters import exporter_names

        if variable := _wrong_endpoint(signal):
            text = f"{variable} is no URL: what stands for its port is no number"
            yield Finding(signal, "wrong", text, "give it as http://host:port")
            return
        try:
            names = exporter_names(signal)
            found = sdk._import_exporters(*(names if one == signal else [] for one in SIGNALS))
            kinds: dict[str, Any] = found[SIGNALS.index(signal)]
            if not kinds:
                yield Finding(signal, "warning", f"off, by OTEL_{signal.upper()}_EXPORTER")
            for name, kind in kinds.items():
                if "otlp" in name:
                    with Heard("opentelemetry") as heard:
                        exporter = kind(timeout=report.PATIENCE)
                    yield self._collector(signal, name, exporter)
                    yield from _complaints(signal, heard)
                else:
                    yield Finding(signal, "ok", f"go to the exporter {name}")
        except Exception as error:  # noqa: BLE001 - whatever a variable holds
            mend = f"correct OTEL_{signal.upper()}_EXPORTER, or the OTEL_EXPORTER_OTLP_* named"
            yield Finding(signal, "wrong", f"cannot be set up: {short(error)}", mend)

    def _file(self, path: str) -> Iterator[Finding]:
        """Look at what an ``OTEL_CONFIG_FILE`` says."""
        self._named_in = "in OTEL_CONFIG_FILE"
        said, model = config_file.read(path)
        yield said
        if model is None:
            return
        for signal in SIGNALS:
            try:
                with Heard("opentelemetry") as heard:
                    made = list(config_file.exporters(model, signal))
            except LookupError:
                text = "OTEL_CONFIG_FILE's exporters cannot be made here: none was tried"
                yield Finding(signal, "warning", text, "look for them in the collector's log")
                continue
            yield from map(self._from_file, made)
            yield from _complaints(signal, heard, "OTEL_CONFIG_FILE")
            if not made:
                yield Finding(signal, "warning", "off, by OTEL_CONFIG_FILE")

    def _from_file(self, made: config_file.Made) -> Finding:
        if made.error:
            text = f"{made.name} cannot be set up: {made.error}"
            return Finding(made.signal, "wrong", text, "correct OTEL_CONFIG_FILE")
        if "otlp" in made.name and hasattr(made.exporter, "_endpoint"):
            return self._collector(made.signal, made.name, made.exporter)
        what = "are read by who asks" if made.name == "pull" else f"go to the exporter {made.name}"
        return Finding(made.signal, "ok", what)

    def _collector(self, signal: str, name: str, exporter: Any) -> Finding:
        protocol = "grpc" if name.endswith("grpc") else "http/protobuf"
        try:
            host, port = address(str(getattr(exporter, "_endpoint", "")), protocol)
        except ValueError:
            text = "the endpoint is no URL: what stands for its port is no number"
            return Finding(signal, "wrong", text, f"give http://host:port {self._named_in}")
        where = f"{host}:{port} ({protocol})"
        try:
            socket.create_connection((host, port), timeout=report.PATIENCE / 2).close()
        except OSError as error:
            reason = error.strerror or short(error)
            mend = f"start a collector there, or name another {self._named_in}"
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

        with Heard() as heard:
            taken = exporter.export(probe(signal) if self._send else nothing(signal))
        if taken.name == "SUCCESS":
            self.taken.add(signal)
            return Finding(signal, "ok", f"{where} takes them")
        return Finding(signal, "wrong", f"{where} refuses them: {heard.last}", mend_port(port))


def _wrong_endpoint(signal: str) -> str:
    """Return the variable whose URL cannot be taken apart: what Python says of it cites it."""
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        if value := os.environ.get(name, ""):
            try:
                address(value, "")
            except ValueError:
                return name
            break
    return ""


def _complaints(
    signal: str, heard: Heard, where: str = "OTEL_EXPORTER_OTLP_HEADERS"
) -> Iterator[Finding]:
    """Say what the SDK complained of when an exporter was made. Of headers it cites all."""
    if heard.of_headers:
        text = f"{where} has a header that is not name=value, and is left out"
        yield Finding(signal, "wrong", text, "write name=value,name=value, and %20 for a space")
    for line in heard.lines:
        yield Finding(signal, "warning", line, "correct what is meant")


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

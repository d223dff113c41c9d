"""What ``otel-dbevents check`` looks at: versions, settings, collectors, Langfuse, databases, cost.

In: the environment and what the command was given. Out: `Report`. Nothing in it is a secret: no
header, user name, password or query string of a URL. The check sends one empty export to each
collector, and with ``send`` one span, one measurement and one log record; no database is written
to or made.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from otel_dbevents.check import behind, cost, database, telemetry
from otel_dbevents.check.langfuse import look_at_langfuse
from otel_dbevents.check.langfuse_client import look_at_client
from otel_dbevents.check.report import Finding, Report, short
from otel_dbevents.check.sidecar import look_at_sidecar
from otel_dbevents.check.variables import look_at_environment, look_at_variables
from otel_dbevents.compat import UnsupportedVersionError, check_versions, installed
from otel_dbevents.config import Config, ConfigError, variable
from otel_dbevents.config.names import unknown

__all__ = ["Finding", "Report", "examine"]

_PACKAGES: Final = ("otel-dbevents", "sqlalchemy", "opentelemetry-sdk", "opentelemetry-distro")
_CONTRIB: Final = "opentelemetry-instrumentation-sqlalchemy"


def examine(
    databases: Sequence[str] = (),
    *,
    collector_metrics: str | None = None,
    sidecar: str | None = None,
    send: bool = False,
    measure: bool = True,
) -> Report:
    """Look at everything.

    Args:
        databases: URLs to connect to.
        collector_metrics: where the collector tells of itself, ``host:port``; else port 8888 of
            each collector's host is tried.
        sidecar: where a sidecar tells of itself, ``host:port``.
        send: have one span, one measurement and one log record go all the way.
        measure: take a second to measure what telling of a statement costs.

    """
    report = Report({name: installed(name) for name in _PACKAGES}, {})
    report.findings += _versions(report.versions)
    report.findings += _settings(report.settings)
    report.findings += look_at_variables(os.environ, ours=report.is_well("settings"))
    report.findings += _bus()
    report.findings += look_at_sidecar(sidecar) if sidecar else ()
    report.findings += _contrib()
    signals = telemetry.Telemetry(send=send)
    report.findings += signals.look()
    report.findings += _behind(signals, collector_metrics, send)
    report.findings += look_at_client()
    report.findings += look_at_langfuse()
    report.findings += _health()
    report.findings += map(database.look_at, databases)
    if measure and report.is_well("versions", "settings"):
        report.findings += _cost()
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
    misnamed = unknown(os.environ, Config.model_fields)
    Config.be_quiet_of(misnamed)
    try:
        config = Config()
    except ConfigError as error:
        for line in str(error).splitlines():
            yield Finding("settings", "wrong", line, "correct the variable, or unset it")
        return
    for name in Config.model_fields:
        value, origin = config.shown(name), config.origin(name)
        settings[name] = {"value": value, "from": origin, "variable": variable(name)}
    changed = sum(found["from"] != "default" for found in settings.values())
    others = "the others by default"
    if os.environ.get("OTEL_CONFIG_FILE"):
        others += ", unless OTEL_CONFIG_FILE has them under dbevents, which is not looked at here"
    yield Finding("settings", "ok", f"{changed} of {len(settings)} set, {others}")
    for complaint in misnamed.values():
        text, _, near = complaint.partition("; ")
        yield Finding("settings", "warning", text, near or "unset it")
    yield from look_at_environment(os.environ)
    if not config.enabled:
        mend = f"unset {variable('enabled')}"
        yield Finding("settings", "warning", "turned off: nothing is observed", mend)


def _health() -> Iterator[Finding]:
    """Say whether databases are asked by themselves."""
    try:
        config = Config()
    except ConfigError:
        return  # the settings' finding says it
    every = config.health_interval_s
    text = f"each database in use is asked every {every:g} s" if every else "checks are off"
    yield Finding("health", "ok", text)


def _bus() -> Iterator[Finding]:
    """Look at the bus, where it is on a Redis."""
    from otel_dbevents.check.redis import look_at_bus

    try:
        config = Config()
    except ConfigError:
        return  # the settings' finding says it
    yield from look_at_bus(config)


def _contrib() -> Iterator[Finding]:
    disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    if installed(_CONTRIB) and not {"sqlalchemy", "*"} & {name.strip() for name in disabled}:
        yield Finding(
            "contrib",
            "warning",
            f"{_CONTRIB} is installed: under opentelemetry-instrument each query gives two spans",
            "set OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=sqlalchemy",
        )


def _behind(signals: telemetry.Telemetry, given: str | None, send: bool) -> Iterator[Finding]:
    """Look behind the collectors that took something, or at the one that was named."""
    guessed = [f"{host}:{behind.PORT}" for host in signals.hosts] if signals.taken else []
    for where in [given] if given else guessed:
        yield from behind.look_behind(where, signals.taken if send else (), asked=given is not None)


def _cost() -> Iterator[Finding]:
    try:
        yield cost.look_at_cost()
    except Exception as error:  # noqa: BLE001 - the self-measurement is a look like the others
        mend = "this is a defect of otel_dbevents: please report it with these lines"
        yield Finding("cost", "wrong", f"could not be measured: {short(error)}", mend)

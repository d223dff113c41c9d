"""``import otel_dbevents.auto``: providers where there are none, and every engine observed.

Nothing here breaks the import: what is wrong is said in one line, and the application runs on
uninstrumented. ``OTEL_SDK_DISABLED=true`` and ``OTEL_DBEVENTS_ENABLED=false`` turn it off.
"""

import logging
import os
from typing import Any

from otel_dbevents.compat import check_versions
from otel_dbevents.misread import load_file
from otel_dbevents.swallowing import came_through

_log = logging.getLogger("otel_dbevents")


def start() -> bool:
    """Turn everything on; False when it stays off. Calling it again is harmless. Never raises."""
    try:
        check_versions()
        return _start()
    except Exception as error:  # noqa: BLE001 - the application's import goes before our work
        said = str(error) or type(error).__name__
        _log.error("otel_dbevents is off, the application runs on without it: %s", said)
        _log.debug("it came through %s", came_through(error))
        return False


def _start() -> bool:
    from otel_dbevents.config import Config
    from otel_dbevents.exporters import ensure_providers, sdk_disabled

    if sdk_disabled():
        return False
    config = Config.from_mapping(_declared())
    if not config.enabled:
        return False
    from otel_dbevents.pipeline import instrument

    ensure_providers(config.flush_timeout_ms / 1000, direct_otlp=config.direct_otlp)
    instrument(config=config)
    return True


def _declared() -> dict[str, Any]:
    """Return the options that an ``OTEL_CONFIG_FILE`` has for us."""
    path = os.environ.get("OTEL_CONFIG_FILE")
    if not path:
        return {}
    try:
        model = load_file(path)
    except ImportError:
        return {}
    per_language = getattr(model, "instrumentation_development", None)
    options = getattr(per_language, "python", None) or {}
    return dict(options.get("dbevents") or {})


start()

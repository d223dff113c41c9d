"""Any logger's records as lines of JSON, under the names that their OTLP form has."""

import json
import logging
import logging.config
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from otel_dbevents.json_logs import JsonFormatter

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

PAGE = Path(__file__).parents[1] / "docs/logs.md"


def line(record: logging.LogRecord, **fields: object) -> dict[str, Any]:
    written = JsonFormatter(fields).format(record)
    assert "\n" not in written
    found: dict[str, Any] = json.loads(written)
    return found


def made(**changed: object) -> logging.LogRecord:
    given: dict[str, object] = {"name": "shop", "levelno": 20, "levelname": "INFO", "msg": "sold"}
    return logging.makeLogRecord({**given, "created": 1_700_000_000.25, **changed})


def test_a_record_is_one_object_with_its_time_level_message_and_logger() -> None:
    assert line(made(msg="sold %d\nof %s", args=(2, "a"))) == {
        "time": "2023-11-14T22:13:20.250000000Z",
        "level": "INFO",
        "message": "sold 2\nof a",
        "logger": "shop",
    }


@pytest.mark.parametrize(
    ("levelno", "name"),
    [(10, "DEBUG"), (20, "INFO"), (30, "WARN"), (40, "ERROR"), (50, "FATAL"), (25, "NOTICE")],
)
def test_levels_are_opentelemetrys_whatever_the_application_calls_them(
    levelno: int, name: str
) -> None:
    assert line(made(levelno=levelno, levelname="NOTICE"))["level"] == name


def test_extras_and_fixed_fields_are_fields_and_private_ones_are_not() -> None:
    told = line(made(order=7, total=float("nan"), kind=StringIO, _own=1), **{"service.name": "s"})
    assert (told["order"], told["total"], told["service.name"]) == (7, "nan", "s")
    assert "StringIO" in told["kind"]
    assert "_own" not in told


def test_a_line_says_the_span_that_is_current() -> None:
    with TracerProvider().get_tracer("shop").start_as_current_span("sale") as span:
        told = line(made())
    context = span.get_span_context()
    assert told["trace_id"] == f"{context.trace_id:032x}"
    assert told["span_id"] == f"{context.span_id:016x}"
    assert told["trace_flags"] == f"{context.trace_flags:02x}"
    assert "trace_id" not in line(made())


def test_an_exception_has_type_message_and_stack() -> None:
    try:
        raise LookupError("no such order")
    except LookupError as error:
        told = line(made(exc_info=(type(error), error, error.__traceback__)))
    assert told["exception.type"] == "LookupError"
    assert told["exception.message"] == "no such order"
    assert told["exception.stacktrace"].startswith("Traceback (most recent call last):\n")
    assert "exception.type" not in line(made(exc_info=(None, None, None)))


def test_it_is_found_by_its_name_in_a_configuration_of_logging() -> None:
    stream = StringIO()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": "otel_dbevents.json_logs.JsonFormatter",
                    "fields": {"service.name": "shop"},
                }
            },
            "handlers": {
                "out": {"class": "logging.StreamHandler", "formatter": "json", "stream": stream}
            },
            "loggers": {"tests.shop": {"handlers": ["out"], "level": "INFO", "propagate": False}},
        }
    )
    logging.getLogger("tests.shop").info("sold", extra={"order": 7})
    told = json.loads(stream.getvalue())
    assert (told["message"], told["order"], told["service.name"]) == ("sold", 7, "shop")


def test_the_configuration_on_the_page_is_one() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = f"{block}\nlogging.getLogger('a').warning('sold')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    told = json.loads(done.stdout)
    assert (told["message"], told["level"], told["service.name"]) == ("sold", "WARN", "shop")

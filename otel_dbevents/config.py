"""The settings: read once, checked at the start, and refused with a message that names the mend.

In: keyword arguments, else ``OTEL_DBEVENTS_*`` variables, else the defaults. Out: one frozen
`Config`. This is the only module that reads our part of the environment; ``OTEL_*`` belongs to
the OpenTelemetry SDK.
"""

import difflib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from otel_dbevents.codec import EVENT_TYPES
from otel_dbevents.compat import langfuse_problem
from otel_dbevents.events import Environment

PREFIX: Final = "OTEL_DBEVENTS_"
Origin: TypeAlias = Literal["argument", "environment", "default"]
"""Where a setting's value came from."""

_HISTORY = 1000
_MEMORY = "memory://"
_LEAST_KEY_BYTES = 16
_BUS_URL = "memory://, redis://host:6379/0, rediss://host:6379/0 or unix:///path/of/the/socket"
_KEY = f"a text of {_LEAST_KEY_BYTES} bytes or more, the same in the application and the sidecar"
_TAKES = {
    "bus_url": _BUS_URL,
    "signing_key": _KEY,
    "signing_key_previous": _KEY,
    "rate_limit": "events a second by the event's name, or * for each that is not named",
    "stream": "a name of letters, digits and -_.:",
}
_SECRET = frozenset({"bus_url", "signing_key", "signing_key_previous"})
"""What is never shown, or not as a whole."""
_EVENTS = frozenset(kind.__name__ for kind in EVENT_TYPES)
_DAY_MS = 86_400_000
_log = logging.getLogger("otel_dbevents")


class Langfuse(StrEnum):
    """What goes to Langfuse of the database work within an LLM trace; outside of one, nothing."""

    OFF = "off"
    SUMMARY = "summary"
    SLOW_AND_ERRORS = "slow_and_errors"
    ALL = "all"


class EventLogTarget(StrEnum):
    """Where domain events are written as log lines, beside their OTLP form or in its place."""

    OFF = "off"
    STDOUT = "stdout"
    STDERR = "stderr"
    LOGGING = "logging"


class ConfigError(ValueError):
    """One or more settings are wrong. The message tells each, what it takes, and an example."""


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a truth value is not a number")
    return value


def _mode(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _bus_url(value: object) -> object:
    """Refuse what is no URL of a bus. The message has nothing of it: it may hold a password."""
    if not isinstance(value, str):
        raise ValueError("no text")
    parts = urlsplit(value.strip())
    is_redis = parts.scheme in ("redis", "rediss") and parts.port != 0 and bool(parts.netloc)
    if not (is_redis or value == _MEMORY or (parts.scheme == "unix" and parts.path)):
        raise ValueError("no URL of a bus")
    return value.strip()


def _key(value: object) -> object:
    if isinstance(value, str) and len(value.encode()) < _LEAST_KEY_BYTES:
        raise ValueError("too short")
    return value


def _rates(value: object) -> object:
    """Refuse what is no list of rates."""
    if isinstance(value, str):
        for name, rate in _read_rates(value):
            if (name != "*" and name not in _EVENTS) or not 0 < rate <= 1e9:
                raise ValueError("no rate of an event")
    return value


def _read_rates(text: str) -> Iterator[tuple[str, float]]:
    for part in text.split(","):
        name, _, rate = part.partition("=")
        yield name.strip(), float(rate.strip().removesuffix("/s"))


def _environment(value: object) -> object:
    return Environment(value) if isinstance(value, str) else value


Milliseconds = Annotated[
    float, Field(ge=0, le=_DAY_MS, allow_inf_nan=False), BeforeValidator(_number)
]
Seconds = Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False), BeforeValidator(_number)]
Key = Annotated[SecretStr | None, BeforeValidator(_key)]
Count = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(_number)]


class Config(BaseSettings):
    """How the pipeline behaves. Frozen; each argument may also be an ``OTEL_DBEVENTS_*`` variable.

    An argument goes before its variable, and the variable before the default. Raises `ConfigError`
    when a value is not allowed or an argument is not known; all that is wrong is told at once.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    enabled: bool = Field(True, description="Whether anything is observed at all.")
    environment: Annotated[Environment | None, BeforeValidator(_environment)] = Field(
        None,
        description="Where the application runs. Not set: the resource's "
        "`deployment.environment.name`, else `local`.",
        examples=["production"],
    )
    slow_query_ms: Milliseconds = Field(
        500,
        description="From this duration on a query is slow: `SlowQueryDetected`. 0 turns it off.",
        examples=["200"],
    )
    repeated_queries: Count = Field(
        10,
        description="So many runs of one statement under one span are an N+1 burst: "
        "`RepeatedQueryDetected`. 0 turns it off.",
        examples=["20"],
    )
    fold_after: Count = Field(
        10,
        description="So many runs of one statement under one span have spans of their own; further "
        "fast ones fold into one that says how many and how long. 0 turns it off.",
        examples=["100"],
    )
    min_duration_ms: Milliseconds = Field(
        0,
        description="No spans for successful queries shorter than this; metrics count them still.",
        examples=["1.5"],
    )
    explain_slow_queries: bool = Field(
        False,
        description="Ask the database for the plan of slow SELECTs, on a connection of our own: "
        "`QueryExplained`. The server may log the EXPLAIN with its values.",
        examples=["true"],
    )
    explain_timeout_ms: Annotated[
        float, Field(ge=1, le=60_000, allow_inf_nan=False), BeforeValidator(_number)
    ] = Field(
        1_000,
        description="How long the database may take for one plan.",
        examples=["200"],
    )
    explain_per_minute: Annotated[int, Field(ge=1, le=600), BeforeValidator(_number)] = Field(
        10,
        description="At most so many plans are asked for in any minute, each statement's once in "
        "ten minutes.",
        examples=["5"],
    )
    health_interval_s: Annotated[
        float, Field(ge=0, le=86_400, allow_inf_nan=False), BeforeValidator(_number)
    ] = Field(
        30,
        description="So often each database in use is asked whether it answers: "
        "`DatabaseHealthCheckCompleted`. 0 turns it off.",
        examples=["10"],
    )
    health_timeout_ms: Annotated[
        float, Field(ge=10, le=60_000, allow_inf_nan=False), BeforeValidator(_number)
    ] = Field(
        2_000,
        description="For how long it may take to connect, and then to answer; beyond it the "
        "database is unhealthy.",
        examples=["500"],
    )
    health_degraded_ms: Milliseconds = Field(
        100,
        description="From this round trip on a database is degraded.",
        examples=["50"],
    )
    health_unhealthy_ms: Milliseconds = Field(
        200,
        description="From this round trip on it is unhealthy.",
        examples=["150"],
    )
    slo_p95_ms: Annotated[
        float, Field(ge=0.1, le=_DAY_MS, allow_inf_nan=False), BeforeValidator(_number)
    ] = Field(
        200,
        description="The objective: 95 of 100 queries are faster than this. The histogram of "
        "durations has it among its bounds.",
        examples=["50"],
    )
    slo_window_s: Annotated[
        float, Field(ge=10, le=86_400, allow_inf_nan=False), BeforeValidator(_number)
    ] = Field(
        300,
        description="Over so many last seconds the percentiles and the error rate are told.",
        examples=["60"],
    )
    require_parent: bool = Field(
        False,
        description="Spans only within a span of the application; metrics count all still.",
        examples=["true"],
    )
    sqlcommenter: bool = Field(
        False,
        description="Append a comment with the trace to each statement. Caches that know a "
        "statement by its whole text miss it then.",
        examples=["true"],
    )
    capture_error_messages: bool = Field(
        False,
        description="Keep the driver's own error messages. They can hold values of your data.",
        examples=["true"],
    )
    history: Count | None = Field(
        None,
        description=f"How many events the bus remembers. Not set: {_HISTORY}, and 0 in production.",
        examples=["100"],
    )
    buffer_size: Annotated[int, Field(ge=1, le=10_000_000), BeforeValidator(_number)] = Field(
        20_000,
        description="Events that wait for a consumer; beyond it the oldest is dropped and counted.",
        examples=["50000"],
    )
    buffer_bytes: Annotated[int, Field(ge=0, le=2**40), BeforeValidator(_number)] = Field(
        0,
        description="With a Redis: so many bytes of events wait for it at most, about, as they "
        "are encoded; beyond it the oldest is dropped and counted. 0: `BUFFER_SIZE` alone.",
        examples=["50000000"],
    )
    rate_limit: Annotated[str | None, BeforeValidator(_rates)] = Field(
        None,
        description="So many events of a type have spans and log records, and go to Redis, in a "
        "second; the metrics count all. `*` is for each type not named.",
        examples=["QueryExecuted=5000/s,*=20000/s"],
    )
    flush_timeout_ms: Annotated[
        float, Field(ge=0, le=600_000, allow_inf_nan=False), BeforeValidator(_number)
    ] = Field(
        2_000,
        description="How long the end of the process may wait for what is not sent yet.",
        examples=["5000"],
    )
    synchronous: bool = Field(
        False,
        description="Make spans at once, on the caller's thread: for tests and notebooks.",
        examples=["true"],
    )
    spans: bool = Field(True, description="Emit spans.", examples=["false"])
    metrics: bool = Field(True, description="Emit metrics.", examples=["false"])
    logs: bool = Field(True, description="Emit domain events as log records.", examples=["false"])
    event_log: Annotated[EventLogTarget, BeforeValidator(_mode)] = Field(
        EventLogTarget.OFF,
        description="Write domain events as log lines too: to `stdout` or `stderr`, each a JSON "
        "object; or to Python's `logging`, as records of `otel_dbevents.events`.",
        examples=["stdout"],
    )
    langfuse: Annotated[Langfuse, BeforeValidator(_mode)] = Field(
        Langfuse.SUMMARY,
        description="What Langfuse is shown of the database: `summary`, totals on the LLM spans "
        "that are there anyway; `slow_and_errors` or `all`, such queries too; `off`.",
        examples=["slow_and_errors"],
    )
    langfuse_prompt: bool = Field(
        False,
        description="Database spans within LLM work say the prompt's name and version and the "
        "session too, of the generation that caused them.",
        examples=["true"],
    )
    langfuse_spans_per_trace: Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_number)] = (
        Field(
            50,
            description="So many queries and events of one trace Langfuse is shown at most, each a "
            "billed unit; a fifth is kept for the slow and failed. Totals count all.",
            examples=["200"],
        )
    )
    langfuse_events: bool = Field(
        False,
        description="Domain events too, as observations of the type `event`: slow, repeated and "
        "explained queries, failed connections, recovery.",
        examples=["true"],
    )
    langfuse_export: bool = Field(
        False,
        description="Send those queries and events to Langfuse ourselves (`LANGFUSE_PUBLIC_KEY`, "
        "`LANGFUSE_SECRET_KEY`, `LANGFUSE_BASE_URL`), where its client has no `langfuse_filter()`.",
        examples=["true"],
    )
    langfuse_scores: bool = Field(
        False,
        description="Two scores on each generation that caused database work, `db_time_ms` and "
        "`db_query_count`: numbers that Langfuse can chart. Two billed units each.",
        examples=["true"],
    )
    direct_otlp: bool = Field(
        True,
        description="Encode spans for OTLP ourselves where `import otel_dbevents.auto` sets up the "
        "exporter; false: the SDK's slower encoder.",
        examples=["false"],
    )
    recovery: bool = Field(
        False,
        description="Ask a database that failed until it answers, and have what its pools held "
        "from before replaced: `DatabaseRecovered` comes without the application's help.",
        examples=["true"],
    )
    recovery_tries: Annotated[int, Field(ge=1, le=1_000), BeforeValidator(_number)] = Field(
        10,
        description="So often it is asked before it is given up, until the application itself gets "
        "a connection.",
        examples=["20"],
    )
    recovery_first_s: Seconds = Field(
        1,
        description="The longest wait before it is asked for the first time; the next may take "
        "twice as long each.",
        examples=["0.5"],
    )
    recovery_most_s: Seconds = Field(
        60,
        description="The longest wait before any.",
        examples=["30"],
    )

    bus_url: Annotated[str, BeforeValidator(_bus_url)] = Field(
        _MEMORY,
        repr=False,
        description="Where the bus is. With a Redis the application ships its events there, and "
        "`otel-dbevents sidecar` makes the telemetry.",
        examples=["redis://localhost:6379/0"],
    )
    stream: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]{1,200}$")] = Field(
        "dbevents",
        description="The name of the stream in Redis.",
        examples=["shop-events"],
    )
    signing_key: Key = Field(
        None,
        description="Signs what goes into Redis; the sidecar then takes nothing else.",
        examples=["$(openssl rand -hex 32)"],
    )
    signing_key_previous: Key = Field(
        None,
        description="Is taken still, while the key is exchanged.",
        examples=["$(openssl rand -hex 32)"],
    )

    _given: frozenset[str] = PrivateAttr(default=frozenset())
    _told: ClassVar[set[str]] = set()

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(_explained(error, frozenset(values))) from None
        self._given = frozenset(values)
        self._refuse_what_never_happens()
        self._warn_of_unknown(os.environ)

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> "Config":
        """Make settings of plain options, such as those of an ``OTEL_CONFIG_FILE``.

        An option without a value (None) is taken as not given.
        """
        return cls(**{name: value for name, value in options.items() if value is not None})

    def history_for(self, environment: Environment) -> int:
        """Return how many events the bus remembers in this environment."""
        if self.history is not None:
            return self.history
        return 0 if environment is Environment.PRODUCTION else _HISTORY

    def rates(self) -> Mapping[str, float]:
        """Return the events a second that are told, by type; empty: all are."""
        return {} if self.rate_limit is None else dict(_read_rates(self.rate_limit))

    @property
    def ships(self) -> bool:
        """Whether events go to a Redis, and telemetry is made elsewhere."""
        return self.bus_url != _MEMORY

    def signing_keys(self) -> tuple[str, str]:
        """Return the current key and the previous one; empty where there is none."""
        current, previous = self.signing_key, self.signing_key_previous
        return (
            "" if current is None else current.get_secret_value(),
            "" if previous is None else previous.get_secret_value(),
        )

    def shown(self, name: str) -> Any:
        """Return the value of the setting ``name`` as it may be shown: without any secret."""
        value = getattr(self, name)
        if isinstance(value, SecretStr):
            return "set, and not shown"
        return _plain_url(value) if name == "bus_url" else value

    def origin(self, name: str) -> Origin:
        """Return where the value of the setting ``name`` came from."""
        if name in self._given:
            return "argument"
        return "environment" if name in self.model_fields_set else "default"

    def _refuse_what_never_happens(self) -> None:
        if self.explain_slow_queries and not self.slow_query_ms:
            explain, slow = self._shown("explain_slow_queries"), self._shown("slow_query_ms")
            raise ConfigError(
                f"{explain} is on, but no query is slow while {slow} is 0: set {slow} to a number "
                f"of milliseconds, for example {slow}=500, or turn {explain} off"
            )
        for name in ("langfuse_events", "langfuse_export"):
            if getattr(self, name):
                self._refuse_what_langfuse_never_sees(name)
        if self.langfuse_scores:
            self._refuse_scores_that_cannot_be()
        if self.ships:
            self._refuse_what_does_not_ship()
        if self.health_degraded_ms > self.health_unhealthy_ms:
            lower, upper = self._shown("health_degraded_ms"), self._shown("health_unhealthy_ms")
            raise ConfigError(
                f"{lower} is {self.health_degraded_ms:g} and {upper} is "
                f"{self.health_unhealthy_ms:g}, but a database is degraded before it is unhealthy: "
                f"set {lower} to {upper} or less"
            )
        if self.signing_key_previous is not None and self.signing_key is None:
            key, previous = self._shown("signing_key"), self._shown("signing_key_previous")
            raise ConfigError(f"{previous} is set, but {key} is not: set both, or {key} alone")

    def _refuse_what_does_not_ship(self) -> None:
        """Refuse what is done where spans are made, which is not in the application then."""
        for name in ("synchronous", "langfuse_export"):
            if getattr(self, name):
                bus, shown = self._shown("bus_url"), self._shown(name)
                raise ConfigError(
                    f"{shown} is on, but {bus} names a Redis, so that spans are made by the "
                    f"sidecar: turn {shown} off, or set {bus}={_MEMORY}"
                )

    def _refuse_scores_that_cannot_be(self) -> None:
        scores, langfuse = self._shown("langfuse_scores"), self._shown("langfuse")
        if self.langfuse is Langfuse.OFF:
            raise ConfigError(
                f"{scores} is on, but {langfuse} is off, so that nothing is known of generations: "
                f"set {langfuse}=summary, or turn {scores} off"
            )
        if problem := langfuse_problem():
            raise ConfigError(f"{scores} is on, and {problem}, or turn {scores} off")

    def _refuse_what_langfuse_never_sees(self, name: str) -> None:
        """Refuse a wish for Langfuse beside settings that leave nothing to be shown there."""
        wish, mode, spans = (self._shown(each) for each in (name, "langfuse", "spans"))
        if self.langfuse is Langfuse.OFF:
            mend = f"set {mode}=summary, or turn {wish} off"
            raise ConfigError(f"{wish} is on, but {mode} is off: {mend}")
        if not self.spans:
            raise ConfigError(f"{wish} is on, but {spans} is off: turn {spans} on, or {wish} off")
        if self.langfuse is Langfuse.SUMMARY and not self.langfuse_events:
            raise ConfigError(
                f"{wish} is on, but {mode}=summary is told on the LLM spans, and there is nothing "
                f"to send: set {mode}=slow_and_errors, or turn {wish} off"
            )

    def _shown(self, name: str) -> str:
        """Return a setting's name as the user wrote it, or would."""
        return name if name in self._given else variable(name)

    @classmethod
    def _warn_of_unknown(cls, environ: Mapping[str, str]) -> None:
        """Say once for each variable that looks like ours and is not."""
        known = {variable(name) for name in cls.model_fields}
        for found in sorted(environ):
            if not found.upper().startswith(PREFIX) or found.upper() in known | cls._told:
                continue
            cls._told.add(found.upper())
            near = _nearest(found.upper(), sorted(known))
            _log.warning("%s is not a setting of otel_dbevents and is ignored%s", found, near)


def variable(name: str) -> str:
    """Return the environment variable of the setting ``name``."""
    return PREFIX + name.upper()


def takes(name: str) -> str:
    """Say which values the setting ``name`` takes."""
    if name in _TAKES:
        return _TAKES[name]
    rule: dict[str, Any] = Config.model_json_schema()["properties"][name]
    rule = rule.get("anyOf", [rule])[0]
    if "$ref" in rule:
        kinds = {kind.__name__: kind for kind in (Environment, EventLogTarget, Langfuse)}
        return "one of " + ", ".join(kinds[rule["$ref"].rpartition("/")[2]])
    if rule["type"] == "boolean":
        return "true or false"
    unit = "seconds" if name.endswith("_s") else "milliseconds"
    number = "a whole number" if rule["type"] == "integer" else f"a number of {unit}"
    return f"{number} from {rule['minimum']} to {rule['maximum']}"


def _explained(error: ValidationError, given: frozenset[str]) -> str:
    lines = [
        _line(str(found["loc"][0]), found["type"] == "extra_forbidden", found, given)
        for found in error.errors(include_url=False, include_context=False)
    ]
    if len(lines) == 1:
        return lines[0]
    return "\n".join([f"{len(lines)} settings of otel_dbevents are wrong:", *lines])


def _line(name: str, unknown: bool, found: Mapping[str, Any], given: frozenset[str]) -> str:
    if unknown:
        near = _nearest(name, sorted(Config.model_fields))
        return f"{name} is not a setting of otel_dbevents{near}"
    field = Config.model_fields[name]
    example = (field.examples or ["false"])[0]
    got = repr(found["input"])
    got = got if len(got) <= 60 else got[:57] + "..."
    if name in _SECRET:
        got = "another value, which is not shown"
    if name in given:
        shown, example = name, f"{name}={_literal(example)}"
    else:
        shown = variable(name)
        example = f"{shown}={example}"
    return f"{shown} takes {takes(name)}, but got {got}; for example {example}"


def _plain_url(url: str) -> str:
    """Return a URL without user, password and options."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _literal(example: str) -> str:
    """Return the example as it is written in Python."""
    if example in ("true", "false"):
        return example.capitalize()
    return example if example.replace(".", "").isdigit() else f'"{example}"'


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"

"""A server that takes what Langfuse takes, refuses what it refuses, and remembers.

Real HTTP on loopback. It answers what the SDKs 4.7 and 5.0 ask for: spans, scores (both ways),
projects and the reading back of observations. What a span would become in Langfuse is
`tests.langfuse.observation`.

    with langfuse_server() as server:
        client = Langfuse(**server.arguments)
        ...
        server.observation("SELECT customers").level
"""

import base64
import gzip
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.demo.receiver import Handler, Receiver
from tests.langfuse.observation import Observation, observations_of

TRACES = "/api/public/otel/v1/traces"
_MOST_BYTES = 16_000_000
_LONGEST_METADATA = 200


class Refused(Exception):
    """The answer to a request that Langfuse would not take."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class LangfuseServer(Receiver):
    """Keeps what it was sent.

    ``requests`` are the spans' requests as protobuf messages, ``headers`` theirs (lower-case
    names), ``scores`` the scores as dicts by either way, ``refused`` what it answered with an
    error: path, status, reason. Set ``status`` to have every request answered with it and nothing
    kept; ``needs_version`` to have spans without ``x-langfuse-ingestion-version`` refused;
    ``decodes`` is False for a server before 4.59; ``redirect_to`` another address to answer with.
    """

    public_key = "pk-lf-tests"
    secret_key = "sk-lf-Xq7langfuse"  # a canary: it may be found nowhere
    project = "tests"

    def __init__(self, status: int = 200, port: int = 0, *, decodes: bool = True) -> None:
        self.handler = _Langfuse
        super().__init__(status, port)
        self.decodes = decodes
        self.needs_version = True
        self.page = 1_000
        self.redirect_to = ""
        self.headers: list[dict[str, str]] = []
        self.scores: list[dict[str, Any]] = []
        self.refused: list[tuple[str, int, str]] = []
        self.asked: list[str] = []
        self.lock = Lock()

    @property
    def arguments(self) -> dict[str, Any]:
        """What a client of Langfuse is made with."""
        return {
            "public_key": self.public_key,
            "secret_key": self.secret_key,
            "base_url": self.endpoint,
        }

    @property
    def variables(self) -> dict[str, str]:
        """The environment that leads here."""
        return {f"LANGFUSE_{name.upper()}": value for name, value in self.arguments.items()}

    @property
    def observations(self) -> list[Observation]:
        """All that was sent, as Langfuse would store it, in the order of its arrival."""
        with self.lock:
            requests = list(self.requests)
        return [
            each for request in requests for each in observations_of(request, decodes=self.decodes)
        ]

    def observation(self, name: str) -> Observation:
        """Return the only one of this name."""
        named = [each for each in self.observations if each.name == name]
        assert len(named) == 1, f"{len(named)} are named {name}: {self.names}"
        return named[0]

    @property
    def names(self) -> list[str]:
        """The names of all observations, sorted."""
        return sorted(each.name for each in self.observations)

    def clear(self) -> None:
        """Forget what was sent."""
        with self.lock:
            for kept in (self.requests, self.headers, self.scores, self.refused, self.asked):
                kept.clear()


class _Langfuse(Handler):
    server: LangfuseServer

    def do_POST(self) -> None:  # noqa: N802 - http.server's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        take = {
            TRACES: self._spans,
            "/api/public/scores": self._scores,
            "/api/public/ingestion": self._ingestion,
        }.get(urlsplit(self.path).path)
        self._answer(lambda: take(body) if take else _not_found())

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        path, _, query = self.path.partition("?")
        self.server.asked.append(self.path)
        show = {
            "/api/public/projects": self._projects,
            "/api/public/v2/observations": self._observations,
            "/api/public/health": lambda _: (200, {"status": "OK", "version": "4.59.0"}),
        }.get(path)
        open_to_all = path == "/api/public/health"
        asked = {name: ",".join(values) for name, values in parse_qs(query).items()}
        self._answer(lambda: show(asked) if show else _not_found(), check=not open_to_all)

    def _answer(self, take: Any, check: bool = True) -> None:
        try:
            if self.server.status >= 400:
                raise Refused(self.server.status, "told to refuse")
            if check:
                self._check_keys()
            with self.server.lock:
                status, said = take()
        except Refused as refusal:
            status, said = refusal.status, {"message": str(refusal)}
            self.server.refused.append((self.path, status, str(refusal)))
        body = json.dumps(said).encode() if said is not None else b""
        if self.server.redirect_to:
            status = 302
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.redirect_to + self.path)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _check_keys(self) -> None:
        keys = f"{self.server.public_key}:{self.server.secret_key}".encode()
        if self.headers.get("Authorization") != f"Basic {base64.b64encode(keys).decode()}":
            raise Refused(401, "Invalid credentials. Confirm that you've configured the host.")

    def _spans(self, body: bytes) -> tuple[int, Any]:
        version = self.headers.get("x-langfuse-ingestion-version")
        if version is None and self.server.needs_version:
            raise Refused(400, "no x-langfuse-ingestion-version: shown minutes later on Cloud")
        if version is not None and not re.fullmatch("[0-4]", version):
            raise Refused(400, "x-langfuse-ingestion-version above 4")
        if self.headers.get("Content-Type") != "application/x-protobuf":
            raise Refused(415, "not protobuf")
        request = _decoded(body, self.headers.get("Content-Encoding", "none"))
        for each in request.resource_spans:
            for scoped in each.scope_spans:
                if any(len(s.span_id) != 8 or len(s.trace_id) != 16 for s in scoped.spans):
                    raise Refused(400, "a malformed id: the whole batch")
        self.server.requests.append(request)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        return 200, {}

    def _scores(self, body: bytes) -> tuple[int, Any]:
        """Take one as the servers before 4.59 do, or a list as those after it do."""
        sent = json.loads(body)
        batch = sent if isinstance(sent, list) else [sent]
        for score in batch:
            _check_score(score)
        self.server.scores += batch
        return (202, {"message": "Accepted"}) if batch is sent else (200, {"id": sent.get("id")})

    def _ingestion(self, body: bytes) -> tuple[int, Any]:
        batch = json.loads(body)["batch"]
        for event in batch:
            if event["type"] == "score-create":
                _check_score(event["body"])
                self.server.scores.append(event["body"])
        successes = [{"id": event["id"], "status": 201} for event in batch]
        return 207, {"successes": successes, "errors": []}

    def _projects(self, _: Mapping[str, str]) -> tuple[int, Any]:
        organization = {"id": "org", "name": "org"}
        project = {
            "id": self.server.project,
            "name": self.server.project,
            "organization": organization,
            "metadata": {},
        }
        return 200, {"data": [project]}

    def _observations(self, asked: Mapping[str, str]) -> tuple[int, Any]:
        if asked.get("parseIoAsJson") == "true":
            raise Refused(400, "parseIoAsJson is no longer taken")
        most = min(int(asked.get("limit", "50")), self.server.page)
        begin = int(base64.b64decode(asked["cursor"])) if "cursor" in asked else 0
        found = [each for each in _stored(self.server) if _is_asked_for(each, asked)]
        found.sort(key=lambda each: each.start_ms, reverse=True)
        meta = {}
        if len(found) > begin + most:
            meta["cursor"] = base64.b64encode(str(begin + most).encode()).decode()
        shown = [_shown(each, self.server, asked) for each in found[begin : begin + most]]
        return 200, {"data": shown, "meta": meta}


@contextmanager
def langfuse_server(
    status: int = 200, port: int = 0, *, decodes: bool = True
) -> Iterator[LangfuseServer]:
    """Run a server within the block."""
    with LangfuseServer(status, port, decodes=decodes) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _not_found() -> tuple[int, Any]:
    raise Refused(404, "there is no such page")


def _decoded(body: bytes, encoding: str) -> Any:
    if len(body) > _MOST_BYTES:
        raise Refused(413, "too large")
    try:
        body = gzip.decompress(body) if encoding == "gzip" else body
        return ExportTraceServiceRequest.FromString(body)
    except (DecodeError, OSError, EOFError) as error:  # deflate and zstd are not decoded
        raise Refused(400, f"Failed to parse OTel Protobuf Trace ({encoding})") from error


def _check_score(score: Mapping[str, Any]) -> None:
    if not score.get("name") or "value" not in score:
        raise Refused(400, "a score has a name and a value")
    if not any(score.get(key) for key in ("traceId", "sessionId", "datasetRunId")):
        raise Refused(400, "a score belongs to a trace, a session or a run")
    if score.get("dataType") == "NUMERIC" and not isinstance(score["value"], int | float):
        raise Refused(400, "a numeric score has a number")


def _stored(server: LangfuseServer) -> list[Observation]:
    """Return what is there, the last of one id only; called with the lock held."""
    latest = {
        (each.trace_id, each.id): each
        for request in server.requests
        for each in observations_of(request, decodes=server.decodes)
    }
    return list(latest.values())


def _is_asked_for(each: Observation, asked: Mapping[str, str]) -> bool:
    fields = {
        "traceId": each.trace_id,
        "name": each.name,
        "type": each.type,
        "level": each.level,
        "userId": each.user_id,
        "sessionId": each.session_id,
        "parentObservationId": each.parent_id,
        "version": each.version,
    }
    if any(asked[name] != value for name, value in fields.items() if name in asked):
        return False
    if "environment" in asked and each.environment not in asked["environment"].split(","):
        return False
    begin, end = (asked.get(f"{side}StartTime") for side in ("from", "to"))
    return (begin is None or each.start_ms >= _ms(begin)) and (
        end is None or each.start_ms < _ms(end)
    )


def _shown(each: Observation, server: LangfuseServer, asked: Mapping[str, str]) -> dict[str, Any]:
    """Return the groups of fields that were asked for."""
    groups: dict[str, dict[str, Any]] = {
        "core": {
            "id": each.id,
            "traceId": each.trace_id,
            "startTime": _iso(each.start_ms),
            "endTime": _iso(each.end_ms),
            "projectId": server.project,
            "parentObservationId": each.parent_id,
            "type": each.type,
            "isRootObservation": each.is_root,
        },
        "basic": {
            "name": each.name,
            "level": each.level,
            "statusMessage": each.status_message,
            "version": each.version,
            "environment": each.environment,
            "userId": each.user_id,
            "sessionId": each.session_id,
            "bookmarked": False,
            "public": False,
            "traceName": each.trace_name,
        },
        "io": {"input": each.input, "output": each.output},
        "metadata": {"metadata": _cut(each.metadata, asked.get("expandMetadata", ""))},
        "model": {"model": each.model, "modelParameters": {}},
        "usage": {"usageDetails": dict(each.usage), "costDetails": {}, "totalCost": None},
        "prompt": {
            "promptId": None,
            "promptName": each.prompt_name,
            "promptVersion": int(each.prompt_version) if each.prompt_version else None,
        },
        "metrics": {"latency": (each.end_ms - each.start_ms) / 1000},
    }
    wanted = {"core", *asked.get("fields", "core,basic").split(",")}
    return {k: v for group, fields in groups.items() if group in wanted for k, v in fields.items()}


def _cut(metadata: Mapping[str, Any], expanded: str) -> dict[str, Any]:
    """Cut the values as the server does, but for the keys named."""
    whole = set(expanded.split(","))
    return {
        key: value[:_LONGEST_METADATA] if isinstance(value, str) and key not in whole else value
        for key, value in metadata.items()
    }


def _iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _ms(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp() * 1000

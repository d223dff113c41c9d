"""Langfuse in docker-compose.yml: what can be known of it without a Docker that starts it."""

import base64
import json
import os
import re
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from otel_dbevents.config import Config, Langfuse
from tests.services.tools import COMPOSE, NODE, REPOSITORY, require
from tests.test_deploy import COMPOSE as FILE
from tests.test_deploy import LANGFUSE, SERVICES

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

HERE = dict(
    line.split("=", 1)
    for line in (REPOSITORY / "deploy/langfuse.env").read_text().splitlines()
    if not line.startswith("#")
)
ANOTHER = {"LANGFUSE_HOST": "https://langfuse.example", "LANGFUSE_AUTH": "c2VjcmV0"}
BESIDE = [name for name, service in SERVICES.items() if "sidecar" in service.get("profiles", [])]
OURS = [name for name in SERVICES if name.startswith("langfuse-")]
PROGRAMS = ("langfuse-web", "langfuse-worker")

BOTH = [
    "CLICKHOUSE_CLUSTER_ENABLED",
    "CLICKHOUSE_MIGRATION_URL",
    "CLICKHOUSE_PASSWORD",
    "CLICKHOUSE_URL",
    "CLICKHOUSE_USER",
    "DATABASE_URL",
    "ENCRYPTION_KEY",
    "HOSTNAME",
    "NEXTAUTH_URL",
    "REDIS_AUTH",
    "REDIS_HOST",
    "REDIS_PORT",
    "SALT",
    "TELEMETRY_ENABLED",
]
STORAGE = [
    "ACCESS_KEY_ID",
    "BUCKET",
    "ENDPOINT",
    "FORCE_PATH_STYLE",
    "PREFIX",
    "REGION",
    "SECRET_ACCESS_KEY",
]
BOTH += [f"LANGFUSE_S3_{kind}_UPLOAD_{name}" for kind in ("EVENT", "MEDIA") for name in STORAGE]
MADE = [
    "ORG_ID",
    "ORG_NAME",
    "PROJECT_ID",
    "PROJECT_NAME",
    "PROJECT_PUBLIC_KEY",
    "PROJECT_SECRET_KEY",
    "USER_EMAIL",
    "USER_NAME",
    "USER_PASSWORD",
]
WEB_ALONE = ["NEXTAUTH_SECRET", *(f"LANGFUSE_INIT_{name}" for name in MADE)]


def environment(service: str) -> dict[str, str]:
    """Return what a service is told, with the defaults that the file has for it."""
    told: dict[str, str] = SERVICES[service]["environment"]
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in told.items()}


def compose(*options: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run Docker Compose up to where it would need Docker: it reads its files, and prints them."""
    told = {name: value for name, value in os.environ.items() if "LANGFUSE" not in name}
    return subprocess.run(
        [str(require(COMPOSE)), *options, "config", "--format=json"],
        cwd=REPOSITORY,
        env=told | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def services(*options: str, **variables: str) -> dict[str, Any]:
    """Return the services that would be started."""
    read = compose(*options, **variables)
    assert (read.returncode, read.stderr) == (0, "")
    found: dict[str, Any] = json.loads(read.stdout)["services"]
    return found


def test_langfuse_starts_only_when_it_is_asked_for() -> None:
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert sorted(OURS) == sorted(
        set(profiles) - set(BESIDE) - {name for name, value in profiles.items() if not value}
    )
    assert all(profiles[name] == [HERE["COMPOSE_PROFILES"]] for name in OURS)
    for name, service in SERVICES.items():
        if name not in OURS:
            assert not [other for other in service.get("depends_on", {}) if other in OURS]


def test_both_programs_are_told_all_that_they_need_and_the_same() -> None:
    web, worker = map(environment, PROGRAMS)
    assert sorted(worker) == sorted(BOTH)
    assert sorted(web) == sorted([*BOTH, *WEB_ALONE])
    assert {name: web[name] for name in worker} == worker
    assert all(web.values())


def test_both_programs_are_of_one_release_that_takes_the_scores_of_the_newest_client() -> None:
    tags = {SERVICES[name]["image"].rpartition(":")[2] for name in PROGRAMS}
    (tag,) = tags
    assert tuple(map(int, tag.split("."))) >= (4, 59, 0)


def test_the_stores_know_the_programs_by_the_names_and_passwords_that_these_use() -> None:
    told = environment("langfuse-web")
    database = urlsplit(told["DATABASE_URL"])
    postgres = environment("langfuse-postgres")
    assert (database.hostname, database.path) == ("langfuse-postgres", "/langfuse")
    assert (database.username, database.password, database.path[1:]) == (
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_PASSWORD"],
        postgres["POSTGRES_DB"],
    )
    clickhouse = environment("langfuse-clickhouse")
    for name in ("CLICKHOUSE_USER", "CLICKHOUSE_PASSWORD"):
        assert told[name] == clickhouse[name]
    minio = environment("langfuse-minio")
    for kind in ("EVENT", "MEDIA"):
        assert told[f"LANGFUSE_S3_{kind}_UPLOAD_ACCESS_KEY_ID"] == minio["MINIO_ROOT_USER"]
        key = told[f"LANGFUSE_S3_{kind}_UPLOAD_SECRET_ACCESS_KEY"]
        assert key == minio["MINIO_ROOT_PASSWORD"]
    assert told["REDIS_AUTH"] == environment("langfuse-redis")["REDISCLI_AUTH"]


def test_every_host_that_langfuse_is_told_is_one_of_its_stores() -> None:
    told = environment("langfuse-web")
    hosts = {urlsplit(value).hostname for value in told.values() if "://langfuse-" in value}
    named = {urlsplit(told["DATABASE_URL"]).hostname, told["REDIS_HOST"]}
    assert hosts | named == set(OURS) - set(PROGRAMS)
    assert set(SERVICES["langfuse-web"]["depends_on"]) == hosts | named


def test_the_queue_forgets_nothing_and_the_bucket_is_made() -> None:
    redis = SERVICES["langfuse-redis"]["command"]
    assert redis[redis.index("--maxmemory-policy") + 1] == "noeviction"
    assert redis[redis.index("--appendonly") + 1] == "yes"
    bucket = environment("langfuse-web")["LANGFUSE_S3_EVENT_UPLOAD_BUCKET"]
    (script,) = SERVICES["langfuse-minio"]["command"]
    assert script.startswith(f"mkdir -p /data/{bucket} && ")
    assert script.endswith(" /data")


def test_only_the_page_is_published_and_every_store_keeps_its_data() -> None:
    assert [name for name in OURS if "ports" in SERVICES[name]] == ["langfuse-web"]
    for name in set(OURS) - set(PROGRAMS):
        (volume,) = SERVICES[name]["volumes"]
        assert volume.partition(":")[0] == name
        assert name in FILE["volumes"]


def test_the_worker_waits_for_the_migrations_and_the_collector_for_the_keys() -> None:
    stores = SERVICES["langfuse-web"]["depends_on"]
    ready = {"condition": "service_healthy"}
    assert SERVICES["langfuse-worker"]["depends_on"] == stores | {"langfuse-web": ready}
    waits = LANGFUSE["services"]["collector"]["depends_on"]
    assert waits == {"langfuse-web": ready | {"required": False}}


def test_the_collector_has_the_keys_that_langfuse_is_made_with() -> None:
    made = environment("langfuse-web")
    keys = (made[f"LANGFUSE_INIT_PROJECT_{name}_KEY"] for name in ("PUBLIC", "SECRET"))
    assert base64.b64decode(HERE["LANGFUSE_LOCAL_AUTH"]).decode() == ":".join(keys)


def test_what_has_to_be_secret_elsewhere_says_that_it_is_not_here() -> None:
    for name in OURS:
        for variable, value in environment(name).items():
            if re.search("PASSWORD|SECRET|SALT|_AUTH$|_KEY$", variable):
                assert re.fullmatch("(sk-lf-|pk-lf-)?local(-only-1)?|0{64}", value), variable


class Answering(BaseHTTPRequestHandler):
    """Is ready below /ready, and not elsewhere."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path.endswith("/ready") else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing on the terminal."""


@pytest.fixture(scope="module")
def answering() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.e2e
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_health_check_of_a_program_can_say_yes_and_no(program: str, answering: str) -> None:
    _, node, flag, script = SERVICES[program]["healthcheck"]["test"]
    assert (node, flag) == ("node", "-e")
    nobody = "http://127.0.0.1:9"
    answers = {f"{answering}/ready": 0, f"{answering}/starting": 1, nobody: 1}
    for address, status in answers.items():
        check = re.sub(r'"http://127\.0\.0\.1:\d+/[^"]+"', json.dumps(address), script)
        assert check != script
        asked = subprocess.run([str(require(NODE)), flag, check], check=False, capture_output=True)
        assert asked.returncode == status, address


@pytest.mark.e2e
def test_compose_starts_no_langfuse_unasked() -> None:
    started = services()
    assert set(started) == set(SERVICES) - set(OURS) - set(BESIDE)
    assert started["collector"]["command"] == ["--config=/etc/otelcol/config.yaml"]


@pytest.mark.e2e
def test_with_the_environment_file_the_collector_sends_to_the_langfuse_beside_it() -> None:
    """Also where the shell knows another Langfuse, whose key must not go astray."""
    started = services("--env-file=deploy/langfuse.env", **ANOTHER)
    assert set(started) == set(SERVICES) - set(BESIDE)
    collector = started["collector"]
    assert collector["environment"]["LANGFUSE_HOST"] == "http://langfuse-web:3000"
    assert collector["environment"]["LANGFUSE_AUTH"] == HERE["LANGFUSE_LOCAL_AUTH"]
    mounted = {volume["target"] for volume in collector["volumes"]}
    configs = {argument.removeprefix("--config=") for argument in collector["command"]}
    assert len(configs) == 2
    assert configs <= mounted
    assert ANOTHER["LANGFUSE_AUTH"] not in str(started)
    shown = Config(langfuse=started["demo"]["environment"]["OTEL_DBEVENTS_LANGFUSE"])
    assert shown.langfuse is Langfuse.SLOW_AND_ERRORS


@pytest.mark.e2e
def test_a_langfuse_elsewhere_needs_its_address_and_its_key_and_starts_none_here() -> None:
    files = ("--file=docker-compose.yml", "--file=deploy/docker-compose.langfuse.yml")
    started = services(*files, **ANOTHER)
    assert set(started) == set(SERVICES) - set(OURS) - set(BESIDE)
    assert ANOTHER.items() <= started["collector"]["environment"].items()
    for name in ANOTHER:
        less = {key: value for key, value in ANOTHER.items() if key != name}
        refused = compose(*files, **less)
        assert refused.returncode != 0
        assert name in refused.stderr

"""The sidecar and its Redis in docker-compose.yml: what can be known without a Docker."""

import os
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
import yaml

from tests.services.redis import redis as run_redis
from tests.services.tools import COMPOSE, REPOSITORY, require
from tests.test_deploy import SERVICES

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

ACL = REPOSITORY / "deploy/redis/users.acl"
REDIS = SERVICES["redis"]
SIDECAR = SERVICES["sidecar"]
URL = urlsplit(SIDECAR["environment"]["OTEL_DBEVENTS_BUS_URL"])


def test_they_start_only_when_they_are_asked_for_and_nothing_else_waits_for_them() -> None:
    assert REDIS["profiles"] == SIDECAR["profiles"] == ["sidecar"]
    told = (REPOSITORY / "deploy/sidecar.env").read_text()
    assert re.findall(r"^COMPOSE_PROFILES=(\w+)$", told, re.MULTILINE) == ["sidecar"]
    for name, service in SERVICES.items():
        if name != "sidecar":
            assert not {"redis", "sidecar"} & set(service.get("depends_on", {})), name


def test_redis_writes_down_what_it_took_and_evicts_nothing() -> None:
    command = REDIS["command"]
    assert command[command.index("--appendonly") + 1] == "yes"
    assert command[command.index("--maxmemory-policy") + 1] == "noeviction"
    assert "events:/data" in REDIS["volumes"]


def test_the_sidecar_is_a_user_that_the_mounted_file_has() -> None:
    command = REDIS["command"]
    inside = command[command.index("--aclfile") + 1]
    assert f"./{ACL.relative_to(REPOSITORY)}:{inside}:ro" in REDIS["volumes"]
    assert (URL.hostname, URL.port) == ("redis", 6379)
    assert f"user {URL.username} on >{URL.password} " in ACL.read_text()
    assert REDIS["environment"]["REDISCLI_AUTH"] == URL.password


def test_the_way_that_an_application_is_told_to_go_is_one_of_its_users() -> None:
    told = (REPOSITORY / "deploy/sidecar.env").read_text()
    (address,) = re.findall(r"OTEL_DBEVENTS_BUS_URL=(\S+)", told)
    url = urlsplit(address)
    assert f"user {url.username} on >{url.password} " in ACL.read_text()
    assert f"127.0.0.1:{url.port}:6379" in REDIS["ports"]


def test_what_the_sidecar_says_of_itself_is_where_its_check_and_its_port_are() -> None:
    command = SIDECAR["command"]
    port = command[command.index("--http") + 1].rpartition(":")[2]
    assert SIDECAR["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert f"http://127.0.0.1:{port}/healthz" in SIDECAR["healthcheck"]["test"][-1]


def test_the_image_has_what_the_sidecar_needs() -> None:
    assert SIDECAR["build"] == SERVICES["demo"]["build"]
    assert "'.[demo,redis]'" in (REPOSITORY / "deploy/Dockerfile").read_text()


def test_the_check_of_the_sidecar_can_say_yes_and_no() -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    script = SIDECAR["healthcheck"]["test"][-1]
    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        here = script.replace("9469", str(server.server_port))
        asked = {"yes": here, "no": here.replace("/healthz", "/readyz")}
        said = {
            word: subprocess.run([sys.executable, "-c", each], capture_output=True, check=False)
            for word, each in asked.items()
        }
        server.shutdown()
        thread.join()
    assert {word: done.returncode for word, done in said.items()} == {"yes": 0, "no": 1}


def test_the_check_of_redis_can_say_yes_and_no(tmp_path: Path) -> None:
    """On a real server with the mounted users: `-e` has an error be the exit status."""
    cli, *words = REDIS["healthcheck"]["test"][1:]
    with run_redis(tmp_path, {"aclfile": str(ACL), "requirepass": ""}) as server:

        def status(password: str) -> int:
            done = subprocess.run(
                [cli, "-p", str(server.port), *words],
                env={"PATH": os.environ["PATH"], "REDISCLI_AUTH": password},
                capture_output=True,
                check=False,
            )
            return done.returncode

        assert status(REDIS["environment"]["REDISCLI_AUTH"]) == 0
        assert status("another") != 0
        server.process.kill()
        assert status(REDIS["environment"]["REDISCLI_AUTH"]) != 0


@pytest.mark.e2e
def test_compose_itself_starts_both_by_the_environment_file_and_neither_without() -> None:
    def started(*options: str) -> set[str]:
        said = subprocess.check_output(
            [str(require(COMPOSE)), *options, "config"],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"]},
            text=True,
        )
        return set(yaml.safe_load(said)["services"])

    assert started("--env-file=deploy/sidecar.env") - started() == {"redis", "sidecar"}

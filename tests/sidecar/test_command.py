"""The command's settings and usage: what is wrong is said with its mend, before anything starts."""

import argparse
import logging
import socket
import subprocess
import sys

import pytest

from otel_dbevents.bus.redis.connecting import RedisSetupError
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


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--claim-after", "-1"], "takes a number of seconds from 0 to 86400"),
        (["--deadline", "soon"], "takes a number of seconds from 0 to 86400"),
        (["--deadline", "nan"], "takes a number of seconds from 0 to 86400"),
        (["--group", ""], "takes a name of letters"),
        (["--group", "handler:shop"], "takes a name of letters"),  # is a handler's own
    ],
)
def test_a_wrong_value_is_wrong_usage(
    given: list[str], words: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        options(*given)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"argument {given[0]}: {words}" in said


def test_a_port_that_another_has_is_named_with_the_mend(settings: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ConfigError, match=rf"--http {address} cannot be had .*: name another"):
            process._set_up(options("--http", address))


def test_where_the_sdk_tells_nothing_it_does_not_begin_to_take_events_out_of_redis(
    settings: pytest.MonkeyPatch,
) -> None:
    settings.setenv("OTEL_SDK_DISABLED", "true")
    with pytest.raises(ConfigError, match=r"OTEL_SDK_DISABLED=true: .*; unset it here"):
        process._set_up(options("--http", "127.0.0.1:0"))


def test_a_file_of_tls_that_cannot_be_read_is_named_before_anything_starts(
    settings: pytest.MonkeyPatch,
) -> None:
    url = "rediss://:Xq7pw@127.0.0.1:1/0?ssl_ca_certs=/Xq7/none"
    settings.setenv("OTEL_DBEVENTS_BUS_URL", url)
    with pytest.raises(RedisSetupError, match=r"the file of ssl_ca_certs .*: correct") as caught:
        process._set_up(options("--http", "127.0.0.1:0"))
    assert "Xq7" not in str(caught.value)


@pytest.mark.parametrize("is_sent", [True, False])
def test_it_says_what_it_reads_and_where_that_goes(
    settings: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_sent: bool
) -> None:
    settings.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://who:Xq7pw@127.0.0.1:9/path")
    settings.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    settings.setenv("OTEL_TRACES_EXPORTER", "otlp" if is_sent else "none")
    caplog.set_level(logging.INFO)
    given = options("--http", "127.0.0.1:0")
    _, outlets, config, looks, _ = process._set_up(given)
    process._say_what_it_does(given, config, outlets, looks)
    [line, *more] = caplog.messages
    assert line.startswith(
        "reading dbevents at redis://127.0.0.1:1 as sidecar, signatures are not looked at; "
        f"telemetry goes to {'127.0.0.1:9' if is_sent else 'nobody'}; "
    )
    assert "Xq7" not in line
    assert ["sent nowhere" in each for each in more] == ([] if is_sent else [True])
    looks.server_close()
    outlets.abort()
    outlets.close()


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
    work, outlets, config, looks, handlings = process._set_up(
        options("--http", "127.0.0.1:0", "--name", "n")
    )
    assert config.signing_keys() == (KEY, "")
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
        [sys.executable, "-c", WAITING], capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout == "SIGTERM\n"

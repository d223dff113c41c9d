"""`otel-dbevents report`: what it takes, what it says, what it refuses, and its exit status."""

import argparse
import io
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from otel_dbevents.cli import main
from otel_dbevents.report import command
from otel_dbevents.report.command import moment
from tests.langfuse.server import langfuse_server
from tests.report.making import finished_run
from tests.report.test_files import JSON


@pytest.fixture
def traces(tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_bytes(JSON)
    return str(path)


@pytest.fixture
def written(tmp_path):
    def write(content: str) -> str:
        path = tmp_path / "other.jsonl"
        path.write_text(content)
        return str(path)

    return write


def spans(*made) -> str:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}) + "\n"


def test_it_shows_a_table(traces, capsys):
    assert main(["report", traces]) == 0
    shown = capsys.readouterr().out
    assert "support v7" in shown
    assert "Since 2025-11-24 16:58 support v7 has been slower in the database" in shown
    assert "\x1b" not in shown


def test_several_files_are_one_run(traces, capsys):
    assert main(["report", traces, traces, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["source"] == "2 files"
    assert told["total"]["turns"] == 94


def test_what_comes_in_is_read(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(JSON)))
    assert main(["report", "-", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"] == "what came in"


def test_prompts_and_times_can_be_chosen(traces, capsys):
    chosen = ["--prompt", "supp*", "--prompt", "answer", "--since", "2025-11-24T16:58"]
    assert main(["report", traces, "--json", *chosen, "--top", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {(each["prompt"]["name"], each["prompt"]["version"]) for each in told["groups"]} == {
        ("support", "7")
    }
    assert all(len(each["top_queries"]) <= 1 for each in told["groups"])
    assert main(["report", traces, "--json", "--until", "2025-11-24T16:30Z"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert 0 < told["total"]["turns"] < 94
    assert told["changes"] == []


def test_it_writes_a_page(traces, tmp_path, capsys):
    page = tmp_path / "report.html"
    assert main(["report", traces, "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert capsys.readouterr().out == f"{page}: 94 turns\n"


def test_a_page_that_cannot_be_written_is_said(traces, tmp_path, capsys):
    assert main(["report", traces, "--html", str(tmp_path / "none" / "report.html")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_a_project_of_langfuse_is_read_by_its_variables(monkeypatch, capsys):
    with langfuse_server() as server:
        server.requests.append(encode_spans(finished_run()))
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        assert main(["report", "--langfuse", "--since", "2025-11-24", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["source"] == f"Langfuse at {server.endpoint} since 2025-11-24 00:00 UTC"
        assert told["total"]["turns"] == 94
        assert main(["report", "--langfuse"]) == 1  # the last day only
        assert "--since far enough back" in capsys.readouterr().err


def test_without_keys_it_says_which(monkeypatch, capsys):
    monkeypatch.delenv("LANGFUSE_PUBLIC_KEY", raising=False)
    monkeypatch.delenv("LANGFUSE_SECRET_KEY", raising=False)
    assert main(["report", "--langfuse"]) == 2
    said = capsys.readouterr().err
    assert "LANGFUSE_PUBLIC_KEY and LANGFUSE_SECRET_KEY not set" in said
    assert "API Keys" in said


def test_without_the_extra_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "langfuse.api.client", None)
    assert main(["report", "--langfuse"]) == 2
    assert "pip install 'otel-dbevents[langfuse]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no spans"),
        (spans({"traceId": "a", "spanId": "b", "name": "GET /"}), "1 spans, and none of LLM work"),
    ],
)
def test_where_there_is_nothing_to_report_it_says_why(written, capsys, content, said):
    assert main(["report", written(content)]) == 1
    told = capsys.readouterr()
    assert said in told.err
    assert "->" in told.err
    assert told.out == ""


def test_where_nothing_was_chosen_it_says_what_there_is(traces, capsys):
    assert main(["report", traces, "--prompt", "suport"]) == 1
    said = capsys.readouterr().err
    assert "94 turns, but none of that time and those prompts" in said
    assert "answer, planner, support" in said


def test_a_program_gets_json_of_nothing_too(written, capsys):
    assert main(["report", written(""), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["total"] is None


def test_what_is_not_otlp_is_status_2(written, capsys):
    assert main(["report", written("level=info\n")]) == 2
    assert "neither OTLP JSON nor OTLP protobuf" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name a FILE, --langfuse or --jaeger"),
        (["a", "--langfuse"], "one source at a time"),
        (["--langfuse", "--jaeger", "http://x", "--service", "y"], "one source at a time"),
        (["--jaeger", "http://x"], "belong together"),
        (["a", "--service", "x"], "belong together"),
        (["a", "--since", "1h", "--until", "2h"], "--since is not before --until"),
        (["a", "--since", "yesterday"], "is no time"),
        (["a", "--since", "2025-13-01"], "is no time"),
        (["a", "--top", "0"], "is no number above 0"),
        (["a", "--top", "many"], "is no number above 0"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_right(capsys, arguments, said):
    with pytest.raises(SystemExit) as raised:
        main(["report", *arguments])
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_its_help_teaches(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["report", "--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    for word in (
        "--langfuse",
        "--jaeger",
        "file",
        "examples",
        "Exit status",
        "LANGFUSE_SECRET_KEY",
    ):
        assert word in shown


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90m", timedelta(minutes=90)),
        ("24h", timedelta(hours=24)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
    ],
)
def test_a_moment_may_be_so_long_ago(text, ago):
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert moment(text, now) == now - ago


def test_a_moment_may_be_a_date():
    assert moment("2025-11-20") == datetime(2025, 11, 20, tzinfo=UTC)
    assert moment("2025-11-20T14:00+02:00") == datetime(2025, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "7", "d", "7y", "9999999d", "999999w", "-7d"])
def test_anything_else_is_no_moment(text):
    with pytest.raises(argparse.ArgumentTypeError):
        moment(text)


def test_a_terminal_without_the_letters_gets_something(traces, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["report", traces]) == 0


def test_whoever_has_seen_enough_may_go(traces, monkeypatch):
    class Closed(io.StringIO):
        def flush(self):
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert main(["report", traces]) == 0
    sys.stdout.close()


def test_on_a_terminal_it_says_how_far_it_is(traces, monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(command, "_STEP", 100)
    assert main(["report", traces]) == 0
    assert terminal.getvalue().startswith("\r100 spans\r200 spans")
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_it_can_be_interrupted(monkeypatch):
    def interrupted(name):
        raise KeyboardInterrupt
        yield name

    monkeypatch.setattr(command, "spans_of_file", interrupted)
    assert main(["report", "traces"]) == 130


def test_on_a_terminal_there_is_colour_unless_it_is_not_wanted(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert command.coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not command.coloured()

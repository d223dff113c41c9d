"""What cannot be played is refused before anything is, with the mend."""

import errno

import pytest

from otel_dbevents import demo
from otel_dbevents.demo import main, run


def test_without_its_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "rich" else object())
    assert main([]) == 2
    assert "not installed: rich; pip install 'otel-dbevents[demo]'" in capsys.readouterr().err


def test_a_wrong_setting_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_DBEVENTS_BUFFER_SIZE", "many")
    assert main(["--json"]) == 2
    told = capsys.readouterr()
    assert "OTEL_DBEVENTS_BUFFER_SIZE" in told.err
    assert told.out == ""


def test_a_picture_needs_a_folder(tmp_path, capsys):
    assert main(["--svg", str(tmp_path / "missing" / "demo.svg")]) == 2
    assert "--svg" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_to_is_told(monkeypatch, capsys):
    def refuse(*_arguments, **_options):
        raise OSError(errno.EROFS, "Read-only file system", "demo.svg")

    monkeypatch.setattr(run, "on_terminal", refuse)
    assert main(["--svg", "demo.svg"]) == 2
    assert capsys.readouterr().err == "otel-dbevents demo: demo.svg: Read-only file system\n"


def test_telemetry_that_is_off_shows_nothing(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert main([]) == 2
    assert "OTEL_SDK_DISABLED" in capsys.readouterr().err


def test_an_exporter_that_there_is_not_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipline")
    assert main([]) == 2
    told = capsys.readouterr()
    assert "OTEL_TRACES_EXPORTER: there is no exporter named 'zipline'" in told.err
    assert told.out == ""


def test_an_unknown_scene_is_refused_with_those_there_are(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--scene", "finale"])
    assert "n-plus-one" in capsys.readouterr().err

"""What cannot be done together is refused before anything is measured."""

from pathlib import Path

import pytest

from benchmarks import arguments
from benchmarks.__main__ import main
from benchmarks.page import BEGIN, END
from benchmarks.scenes import SCENES

TOGETHER = [
    ("--short --instructions", "--short counts no instructions"),
    ("--instructions --rounds 3", "no --rounds with --instructions"),
    ("--instructions --only threads", "nothing is counted"),
    ("--sidecar --only held", "not with --only"),
    ("--sidecar --instructions", "not with --instructions"),
    ("--sidecar --chart FILE", "not with --chart"),
    ("--markdown FILE --short", "--markdown tells of whole runs: not with --short"),
    ("--markdown FILE --only held --instructions", "not with --only, --instructions"),
    ("--markdown FILE --sidecar", "not with --sidecar"),
    ("--runs 0", "0 is less than 1"),
    ("--rounds -1", "-1 is less than 1"),
    ("--only nothing", "invalid choice: 'nothing'"),
]


@pytest.mark.parametrize(("given", "said"), TOGETHER, ids=[given for given, _ in TOGETHER])
def test_what_does_not_go_together_is_refused_and_says_why(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(given.split())
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "said"),
    [("--instructions", arguments.NO_VALGRIND), ("--sidecar", arguments.NO_REDIS)],
)
def test_what_is_not_installed_is_named(
    given: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="2"):
        main(["--runs", "3", given])
    assert said in capsys.readouterr().err


def test_a_page_without_the_marks_is_refused_and_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "available", lambda: True)
    monkeypatch.setattr(arguments, "has_redis", lambda: True)
    page = tmp_path / "page.md"
    page.write_text("my own words")
    with pytest.raises(SystemExit, match="2"):
        main(["--markdown", str(page)])
    assert f"page.md has no {BEGIN} and {END}" in capsys.readouterr().err
    assert page.read_text() == "my own words"


@pytest.mark.parametrize(
    ("given", "rounds", "scenes"),
    [
        ("", arguments.ROUNDS, [*SCENES]),
        ("--short", arguments.SHORT_ROUNDS, [*SCENES]),
        ("--short --rounds 7 --only orm --only held --runs 3", 7, ["held", "orm"]),
    ],
)
def test_what_is_given_is_what_is_done(given: str, rounds: int, scenes: list[str]) -> None:
    read = arguments.read(given.split())
    assert (read.rounds, read.scenes) == (rounds, scenes)

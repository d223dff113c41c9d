"""A package that comes later is acted on when it comes, and is none the worse for it."""

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from otel_dbevents.sources.guarding import guard
from otel_dbevents.sources.libsql.arrival import Arrival

NAME = "dbevents_late_package"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / f"{NAME}.py").write_text("value = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield NAME
    sys.modules.pop(NAME, None)


def test_a_package_that_comes_later_is_acted_on_once(package: str) -> None:
    seen: list[int] = []
    arrival = Arrival(package, lambda: seen.append(sys.modules[package].value))
    arrival.expect()
    arrival.expect()
    assert seen == []
    module = import_module(package)
    import_module(package)
    assert seen == [7]
    assert type(module.__loader__) is type(module.__spec__.loader) is SourceFileLoader
    assert arrival not in sys.meta_path


def test_one_that_is_there_is_acted_on_at_once() -> None:
    seen: list[int] = []
    Arrival("sys", lambda: seen.append(1)).expect()
    assert seen == [1]


def test_what_is_no_longer_awaited_is_left_alone(package: str) -> None:
    seen: list[int] = []
    arrival = Arrival(package, lambda: seen.append(1))
    arrival.expect()
    arrival.forget()
    arrival.forget()
    import_module(package)
    assert seen == []


def test_one_that_is_not_installed_is_missing_as_ever() -> None:
    arrival = Arrival("dbevents_no_such_package", list)
    arrival.expect()
    with pytest.raises(ModuleNotFoundError, match="dbevents_no_such_package"):
        import_module("dbevents_no_such_package")
    arrival.forget()


@pytest.mark.swallows
def test_an_error_of_ours_does_not_reach_the_import(package: str) -> None:
    arrival = Arrival(package, lambda: 1 // 0)
    arrival.expect()
    before = guard.errors
    assert import_module(package).value == 7
    assert guard.errors == before + 1

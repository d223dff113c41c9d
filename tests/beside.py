"""Tests that mostly wait, played beside each other: those of a module that are marked `beside`.

When the first of them is to run, all of the module that were selected begin, three at a time, each
on a thread; each test then waits for its own end, and fails as it would alone. Such a test takes
`tmp_path` and fixtures of the session, and nothing of its own process's: what is swallowed and what
leaves meanwhile is put down to the one of them that is awaited.
"""

import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

AT_A_TIME = 3


class Beside:
    """Begins them, and knows them until the session ends."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(AT_A_TIME, "beside")
        self._begun: dict[pytest.Item, Future[Any]] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Wait for it instead of calling it; leave all others to pytest."""
        if pyfuncitem.get_closest_marker("beside") is None:
            return None
        if pyfuncitem not in self._begun:
            self._begin(pyfuncitem)
        self._begun[pyfuncitem].result()
        return True

    def _begin(self, first: pytest.Function) -> None:
        for each in first.session.items:
            of_it = each.get_closest_marker("beside") and each.path == first.path
            if of_it and isinstance(each, pytest.Function) and each not in self._begun:
                arguments = {name: _value(first, each, name) for name in _names(each)}
                self._begun[each] = self._pool.submit(each.obj, **arguments)

    def pytest_sessionfinish(self) -> None:
        """Begin no other; those that run end by themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _names(item: pytest.Function) -> tuple[str, ...]:
    return tuple(item._fixtureinfo.argnames)


def _value(first: pytest.Function, item: pytest.Function, name: str) -> Any:
    """Return a fixture for a test that is not set up yet: by the one that is."""
    if name == "tmp_path":
        factory: pytest.TempPathFactory = first._request.getfixturevalue("tmp_path_factory")
        return factory.mktemp(re.sub(r"\W", "_", item.name)[:30])
    if hasattr(item, "callspec") and name in item.callspec.params:
        return item.callspec.params[name]
    return first._request.getfixturevalue(name)


def pytest_configure(config: pytest.Config) -> None:
    """Take part in each session."""
    config.pluginmanager.register(Beside(), "beside-each-other")

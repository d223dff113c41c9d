"""A package that may be imported later: something is done when it arrives, and nothing before.

So whoever turns us on first need not import what the application may never use. Python asks the
finders on `sys.meta_path` for each module that it does not have yet; ours lets the others find the
one that is awaited, and acts when that was loaded. Nothing of it stays on the module.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from otel_dbevents.sources.guarding import guard


class Arrival(MetaPathFinder):
    """Calls ``act`` once the module ``name`` has been loaded; at once if it is there."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self._name = name
        self._act = act

    def expect(self) -> None:
        """Act now, or wait for the module. Twice is harmless."""
        if self._name in sys.modules:
            self.arrived()
        elif self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def forget(self) -> None:
        """Wait no longer. Twice is harmless."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def arrived(self) -> None:
        """Act. What goes wrong in it does not reach the import."""
        self.forget()
        try:
            self._act()
        except Exception as error:  # noqa: BLE001 - the application must not see it
            guard.caught(error)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return what the other finders say of the awaited module, None of any other."""
        if fullname != self._name:
            return None
        for finder in list(sys.meta_path):
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec: ModuleSpec | None = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, self)
                return spec
        return None


class _Loader(Loader):
    """Loads by the module's own loader, gives that its place back, and says that it is there."""

    def __init__(self, loader: Loader, arrival: Arrival) -> None:
        self._loader = loader
        self._arrival = arrival

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._arrival.arrived()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

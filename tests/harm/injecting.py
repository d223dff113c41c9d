"""Faults at every step of the package: found by reading its code, not listed by hand.

The modules are compiled with a call before each statement that does anything; a `Faults` makes such
a call raise, each once, wherever the application's doing leads to it. So a step that is added
tomorrow fails tomorrow. Nothing is put before a statement that cannot fail (it only moves names and
numbers about), and nothing in what stands directly in the driver's or SQLAlchemy's way and calls
what is guarded: `IN_THE_WAY` names each such call, with the reason.
"""

import ast
import builtins
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, NamedTuple

_HARMLESS = {"time_ns", "len", "max", "min", "isinstance", "list", "bool", "type", "told"}
"""Calls that do not fail with what they are given here; the steps of `told` are tried in it."""

_NOTING = (".caught", ".noted")
"""What takes note of an error: its own steps are tried in it."""

_GUARDED = "all that it does is in a guard of its own"
_DRIVERS = "the driver's call itself: what it raises is the application's"
_NAMES_ONLY = "it only keeps what it is given"
_SQLALCHEMYS = "SQLAlchemy's own doing, which it would do without us"

_FETCHING = (
    "__init__",
    "__del__",
    "fetchone",
    "fetchmany",
    "fetchall",
    "soft_close",
    "hard_close",
    "handle_exception",
    "_buffer_rows",
)

IN_THE_WAY: dict[str, dict[str, str]] = {
    "executing.do_execute": {
        "surrounded": "its own steps are tried",
        "cursor.execute": _DRIVERS,
        "driver_call": _DRIVERS,
        "failed": _GUARDED,
        "told": _GUARDED,
    },
    "_surrounded.do_execute": {
        "around.enter": _GUARDED,
        "around.leave": _GUARDED,
        "driver_call": _DRIVERS,
        "failed": _GUARDED,
        "told": _GUARDED,
    },
    "QuerySource.__init__.do_execute_no_params": {"execute": "it is `do_execute`"},
    "InsertSource.deliver.batches": {
        "deliver": _SQLALCHEMYS,
        "Batches": _NAMES_ONLY,
        "sent.begin": _GUARDED,
        "sent.follow": _GUARDED,
        "sent.end_in": _GUARDED,
        "self._failed": _GUARDED,
        "self._sent": _GUARDED,
    },
    "TransactionSource._ending.end": {
        "driver_call": _DRIVERS,
        "_open_transaction": _GUARDED,
        "watch.around.ending": _GUARDED,
        "Standing": _GUARDED,
        "standing.listen": _GUARDED,
        "standing.heard": _GUARDED,
        "Around.ended": _GUARDED,
        "self._told": _GUARDED,
        "self._told_failed": _GUARDED,
        "ended": "a choice by three truth values",
    },
    "_raw_connection.raw_connection": {
        "original": _DRIVERS,
        "pending.append": "a deque without a bound",
        "pending.pop": "what it appended itself",
        "refused": _GUARDED,
        "checked_out": _GUARDED,
    },
    "_invalidate.invalidate": {"unusable": _GUARDED, "original": _SQLALCHEMYS},
    "_detach.detach": {"leaving": _GUARDED, "original": _SQLALCHEMYS},
    "followed.return_conn": {
        "checked_in": _GUARDED,
        "take_back": _SQLALCHEMYS,
        "this": "a weak reference",
    },
    "followed.close_connection": {
        "_closing": _GUARDED,
        "close": _SQLALCHEMYS,
        "this": "a weak reference",
    },
    "TransactionSource._quick.quick": {
        "driver_call": _DRIVERS,
        "begin": _GUARDED,
        "end": "its own steps are tried",
    },
    "Around.enter": {"Call": _NAMES_ONLY},
    "Around.ending": {"Call": _NAMES_ONLY},
    **{
        f"CountingFetch.{name}": {
            f"dbapi_cursor.{name}": _DRIVERS,
            "result._soft_close": _SQLALCHEMYS,
            "self.handle_exception": _SQLALCHEMYS,
            "self.ended": _GUARDED,
        }
        for name in ("fetchone", "fetchmany", "fetchall")
    },
    "CountingFetch.yield_per": {"CountingStream": _SQLALCHEMYS, "self.more": _NAMES_ONLY},
    "Reading.more": {"Beside": _NAMES_ONLY},
    **{
        f"{kind}.{name}": {
            f"super().{name}": _SQLALCHEMYS,
            "super": _SQLALCHEMYS,
            "self._reading.done": _GUARDED,
            "self._reading.fail": _GUARDED,
            "self.done": _GUARDED,
            "self.ended": _GUARDED,
            "self.fail": _GUARDED,
            "CursorFetchStrategy.handle_exception": _SQLALCHEMYS,
            "self._spent": "it adds two numbers",
            "self._count": "it adds two numbers, and what it tells is guarded",
            "deque": _NAMES_ONLY,
        }
        for kind in ("CountingFetch", "CountingStream")
        for name in _FETCHING
        if kind == "CountingStream" or not name.startswith("fetch")
    },
    "CountingStream._count": {"self._reading.done": _GUARDED},
    "CountingStream.alternate_cursor_description": {
        "cursor.fetchmany": _DRIVERS,
        "self._rowbuffer.extend": _NAMES_ONLY,
        "self._reading.fail": _GUARDED,
        "getattr": _NAMES_ONLY,
        "self._spent": "it adds two numbers",
    },
    "Reading.ended": {"self.done": _GUARDED},
    "Reading.fail": {
        "self.watch.engine": "a weak reference",
        "is_lost": _GUARDED,
        "self.done": _GUARDED,
    },
    "Folding.settle": {"self.lock.release": "it was acquired there"},
    "MemorySubscription.wake": {"self._starting.release": "it was acquired there"},
    "Standing._stand_before.listening": {"query": _DRIVERS},
    "Explainer._work": {
        "threading.current_thread": "it is there",
        "self._changed.notify_all": "in the condition's own lock",
    },
    "_work": {
        "reference": "a weak reference",
        "subscription.died": _GUARDED,
        "_serve": "its own steps are tried; what ends it ends in `_work`",
    },
    "MemorySubscription.died": {
        "self._idle.notify_all": "in the condition's own lock",
        "self.losses.add": "a worker that ends here has let another begin before",
    },
    "_after.drained": {
        "monotonic": "it reads a clock",
        "options.get": "a dict",
        "_drain": _GUARDED,
        "int": "of a number",
        "original": "the provider's own",
    },
    "ConnectionState.is_collected": {"self.proxied": "a weak reference"},
    "Guard.caught": {"super().caught": _GUARDED, "super": "it is there"},
    "Swallowing.caught": {"is_theirs": _GUARDED},
    "told": {"is_theirs": _GUARDED, "_heard": _GUARDED},
    "Ending.__call__": {
        "getattr": "with something to say where there is none",
        "options.get": "a dict",
        "self._original": "the span's own",
        "self._watcher.ending": _GUARDED,
        "self._watcher.ended": _GUARDED,
    },
    "_telling.add_span_processor": {
        "original": "the provider's own",
        "watching.added": _GUARDED,
    },
    "Registry._gone": {"self._open.pop": "a dict"},
    "pinging.do_ping": {"ping": _DRIVERS, "_ping_failed": _GUARDED, "_ping_answered": _GUARDED},
}
"""By function, the calls before which nothing is made to raise, and why."""


class Point(NamedTuple):
    """A place where a fault can be."""

    module: str
    function: str
    line: int


class Fault(Exception):
    """What is raised; `MemoryError` and `RecursionError` in turn with it."""


class Faults:
    """Raises at each point once, on any thread, while it is armed."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.armed = False
        self.only: tuple[str, ...] = ()
        """Where not empty: the modules (with those below) whose points raise."""
        self.fired: set[int] = set()
        self.now: list[int] = []
        """What raised since this was last emptied."""

    def __call__(self, number: int) -> None:
        if not self.armed or number in self.fired:
            return
        if self.only and not self.points[number].module.startswith(self.only):
            return
        self.fired.add(number)
        self.now.append(number)
        raise (Fault, MemoryError, RecursionError)[number % 3](f"fault at {self.points[number]}")


def install() -> Faults:
    """Have the package compiled with faults in it. It must not be imported yet."""
    assert "otel_dbevents" not in sys.modules
    faults = Faults()
    builtins.__fault__ = faults  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Finder(faults))
    return faults


class _Finder(MetaPathFinder):
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != "otel_dbevents":
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(self._faults, fullname, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, faults: Faults, name: str, path: str) -> None:
        super().__init__(name, path)
        self._faults = faults

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_source(fullname)
        assert source is not None
        tree = ast.parse(source)
        _Rewriting(self._faults, fullname).visit(tree)
        return compile(ast.fix_missing_locations(tree), self.path, "exec", dont_inherit=True)


class _Rewriting(ast.NodeVisitor):
    """Puts the calls into one module."""

    def __init__(self, faults: Faults, module: str) -> None:
        self._faults = faults
        self._module = module
        self._names: list[str] = []
        self._in_function = False

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._within(node, in_function=False)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._within(node, in_function=True)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._within(node, in_function=True)

    def _within(self, node: Any, *, in_function: bool) -> None:
        before, self._in_function = self._in_function, in_function
        self._names.append(node.name)
        self._bodies(node)
        self._names.pop()
        self._in_function = before

    def generic_visit(self, node: ast.AST) -> None:
        self._bodies(node)

    def _bodies(self, node: Any) -> None:
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            statements = getattr(node, name, None)
            if not isinstance(statements, list):
                continue
            made = []
            for each in statements:
                if isinstance(each, ast.stmt) and self._in_function and self._can_fail(each):
                    made.append(self._call(each))
                made.append(each)
                self.visit(each)
            setattr(node, name, made)

    def _call(self, statement: ast.stmt) -> ast.stmt:
        points = self._faults.points
        points.append(Point(self._module, ".".join(self._names), statement.lineno))
        function = ast.Name("__fault__", ast.Load())
        call = ast.Expr(ast.Call(function, [ast.Constant(len(points) - 1)], []))
        return ast.copy_location(call, statement)

    def _can_fail(self, statement: ast.stmt) -> bool:
        """Whether the statement does anything before what stands within it does."""
        if isinstance(statement, ast.Try | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        if isinstance(statement, ast.Raise | ast.Global | ast.Nonlocal | ast.Pass):
            return False
        known = IN_THE_WAY.get(".".join(self._names), {})
        calls = [ast.unparse(call.func) for part in _heads(statement) for call in _calls(part)]
        if isinstance(statement, ast.With) and "suppress" in calls:
            return False
        calls = [each for each in calls if not each.endswith(_NOTING)]
        if known:
            return bool(set(calls) - known.keys() - _HARMLESS)
        return bool(set(calls) - _HARMLESS) or isinstance(statement, ast.For | ast.With)


def _heads(statement: ast.stmt) -> Iterator[ast.AST]:
    """Return what of a statement is done before the statements within it."""
    for name, value in ast.iter_fields(statement):
        if name in ("body", "orelse", "finalbody", "handlers"):
            continue
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, ast.AST):
                yield part


def _calls(part: ast.AST) -> Iterator[ast.Call]:
    """Return the calls in an expression; what a lambda does is done later."""
    waiting = [part]
    while waiting:
        found = waiting.pop()
        if isinstance(found, ast.Lambda):
            continue
        if isinstance(found, ast.Call):
            yield found
        waiting.extend(ast.iter_child_nodes(found))

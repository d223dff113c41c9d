"""Instructions counted by valgrind's callgrind, which are the same again and again; and limits.

Each variant's process runs under callgrind, counts each thread apart, and tells its counts when
asked. A scene's operation is done n times, and then `TIMES` n times: the difference is free of
what only the beginning and the end cost. The caller's thread is the process's first one.

    python -m benchmarks --instructions [--only SCENE ...]
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.nursery import nursery
from benchmarks.result import Table, table_of
from benchmarks.scenes import SCENES
from benchmarks.turns import Turn
from benchmarks.variants import VARIANTS, Variant

Wanted = Callable[[str, Variant], bool]
Progress = Callable[[str], None]
Counts = dict[str, tuple[float, float]]
"""Of a scene's operation: in the first thread, and in the whole process."""


class Piece(NamedTuple):
    """What one process does, and what of it it counts.

    What a count is compared with comes from processes that did the same, counted or not.
    """

    variant: Variant
    does: Sequence[str]
    counts: Sequence[str]


COUNTED = tuple(name for name in SCENES if name != "threads")
"""The scenes whose caller is the first thread."""
OPERATIONS = 30
FEW = {"orm": 10, "executemany": 10}
TIMES = 5
AT_A_TIME = 2
AT_ONCE = "--max-invoke-ms=1"
"""A process that waits is woken to answer, and not after a tenth of a second."""
_EVENTS = re.compile(r"^events-(\d+): (\d+)$", re.MULTILINE)
SLOWED = 1000
"""Ten to a hundred times by callgrind, and more where the machine has other work."""


def available() -> bool:
    """Whether valgrind is here."""
    return bool(shutil.which("valgrind") and shutil.which("vgdb"))


def count(
    scenes: Sequence[str] = COUNTED,
    variants: Sequence[Variant] = VARIANTS,
    wanted: Wanted = lambda _scene, _variant: True,
    progress: Progress = lambda _said: None,
    turned: int = 0,
    alone: bool = False,
) -> list[Table]:
    """Return what each variant adds, in instructions, where that is ``wanted``.

    One process of each variant does all scenes, beginning with the one that ``turned`` says, and
    then counts those that are wanted, in the same order. With ``alone`` there is a second table,
    of processes that do one scene and nothing else; of a single scene there is none but that.
    Raises `WrongOutputError` as `measure` does.
    """
    scenes = [name for name in scenes if name in COUNTED]
    together, single = plan(scenes, variants, wanted, turned, alone)
    counted = iter(_do([*together, *single], variants, progress))
    return [
        _table(scenes, variants, work, [next(counted) for _ in work], work is single)
        for work in (together, single)
        if work
    ]


def plan(
    scenes: Sequence[str], variants: Sequence[Variant], wanted: Wanted, turned: int, alone: bool
) -> tuple[list[Piece], list[Piece]]:
    """Say what each process has to count: those that do all scenes, and those that do one."""
    wants = {each.name: [name for name in scenes if wanted(name, each)] for each in variants}
    done = [name for name in scenes if any(name in own for own in wants.values())]
    first = turned % len(done) if done else 0
    order = done[first:] + done[:first]
    together = [
        Piece(variant, order, own)
        for variant in variants
        if (own := [name for name in order if name in wants[variant.name]])
    ]
    single = [Piece(each.variant, [name], [name]) for each in together for name in each.counts]
    if len(done) == 1:
        return [], single
    return together, single if alone else []


def _do(work: Sequence[Piece], variants: Sequence[Variant], progress: Progress) -> list[Counts]:
    """Do each piece in a process of its own, and some of them at a time."""
    with tempfile.TemporaryDirectory() as directory:
        progress("importing under valgrind")
        with (
            nursery(variants, *_under(directory), slowed=SLOWED) as born,
            ThreadPoolExecutor(AT_A_TIME) as pool,
        ):

            def one(piece: Piece) -> Counts:
                progress(f"counting: {piece.variant.name}, {', '.join(piece.counts)}")
                with born.begin(piece.variant) as turn:
                    return _count(turn, piece, Path(directory))

            pieces = [pool.submit(one, piece) for piece in work]
            return [_done(piece, pool) for piece in pieces]


def _under(directory: str) -> list[str]:
    return [
        "valgrind",
        "--tool=callgrind",
        "--quiet",
        "--instr-atstart=no",
        "--separate-threads=yes",
        "--trace-children=yes",
        f"--vgdb-prefix={directory}/vgdb",
        f"--callgrind-out-file={directory}/%p",
    ]


def _table(
    scenes: Sequence[str],
    variants: Sequence[Variant],
    work: Sequence[Piece],
    counted: Sequence[Counts],
    alone: bool,
) -> Table:
    samples: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {} for name in scenes if any(name in piece.counts for piece in work)
    }
    for piece, counts in zip(work, counted, strict=True):
        for scene, each in counts.items():
            samples[scene][piece.variant.name] = [each]
    return table_of("instructions", samples, variants, alone=alone)


def _done(piece: "Future[Counts]", pool: ThreadPoolExecutor) -> Counts:
    """Return what a piece has counted. What is wrong with one ends all."""
    try:
        return piece.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise


def _count(turn: Turn, piece: Piece, directory: Path) -> Counts:
    """Count one variant's scenes; what comes out is looked at before anything is counted."""
    turn.ask("keep", spans=True)
    for scene in piece.does:
        number = FEW.get(scene, OPERATIONS)
        turn.ask("run", scene=scene, operations=number)
        turn.check(scene, number)
    turn.ask("keep", spans=False)
    callgrind = _Callgrind(turn.pid, directory)
    callgrind.on()
    return {scene: _difference(turn, scene, callgrind) for scene in piece.counts}


def _difference(turn: Turn, scene: str, callgrind: "_Callgrind") -> tuple[float, float]:
    few = FEW.get(scene, OPERATIONS)
    (thread, process), (more_thread, more_process) = (
        _added(turn, scene, operations, callgrind) for operations in (few, few * TIMES)
    )
    done = few * (TIMES - 1)
    return (more_thread - thread) / done, (more_process - process) / done


def _added(turn: Turn, scene: str, operations: int, callgrind: "_Callgrind") -> tuple[int, int]:
    """Count so many operations: the first thread until all are done, the process until settled."""
    first, others = callgrind.counted()
    turn.ask("run", scene=scene, operations=operations, settle=False)
    thread, _ = callgrind.counted()
    turn.ask("settle")
    settled = callgrind.counted()
    turn.check(scene, operations)
    return thread - first, sum(settled) - first - others


class _Callgrind:
    """A process under callgrind, asked from here."""

    def __init__(self, pid: int, directory: Path) -> None:
        self._command = ["vgdb", f"--vgdb-prefix={directory}/vgdb", f"--pid={pid}", AT_ONCE]

    def on(self) -> None:
        """Begin to count."""
        self._tell("instrumentation", "on")

    def counted(self) -> tuple[int, int]:
        """Return what was counted since the beginning: of the first thread, and of all others.

        Threads that have ended are among them.
        """
        said = self._tell("status", "internal")
        counts = {int(number): int(each) for number, each in _EVENTS.findall(said)}
        first = counts.pop(1)
        return first, sum(counts.values())

    def _tell(self, *command: str) -> str:
        told = [*self._command, *command]
        return subprocess.run(told, check=True, capture_output=True, text=True).stdout

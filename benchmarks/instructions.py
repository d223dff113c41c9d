"""Instructions counted by valgrind's callgrind, which are the same again and again; and limits.

Each variant's process runs under callgrind, counts each thread apart, and writes down its counts
when asked. A scene's operation is done n times, and then `TIMES` n times: the difference is free of
what only the beginning and the end cost. The caller's thread is the process's first one.

    python -m benchmarks --instructions [--only SCENE ...]
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.result import Table, table_of
from benchmarks.scenes import SCENES
from benchmarks.turns import Turn, starting
from benchmarks.variants import VARIANTS, Variant

COUNTED = tuple(name for name in SCENES if name != "threads")
"""The scenes whose caller is the first thread."""
OPERATIONS = 30
FEW = {"orm": 10, "executemany": 10}
TIMES = 5
AT_A_TIME = 2
SLOWED = 1000
"""Ten to a hundred times by callgrind, and more where the machine has other work."""


def available() -> bool:
    """Whether valgrind is here."""
    return bool(shutil.which("valgrind") and shutil.which("callgrind_control"))


def count(
    scenes: Sequence[str] = COUNTED,
    variants: Sequence[Variant] = VARIANTS,
    wanted: Callable[[str, Variant], bool] = lambda _scene, _variant: True,
    progress: Callable[[str], None] = lambda _said: None,
) -> Table:
    """Return what each variant adds, in instructions, where that is ``wanted``.

    Raises `WrongOutputError` as `measure` does.
    """
    scenes = [name for name in scenes if name in COUNTED]
    plan = {v.name: [scene for scene in scenes if wanted(scene, v)] for v in variants}
    variants = [variant for variant in variants if plan[variant.name]]
    samples: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {} for name in scenes if any(name in each for each in plan.values())
    }
    with tempfile.TemporaryDirectory() as directory:
        under = [
            "valgrind",
            "--tool=callgrind",
            "--quiet",
            "--instr-atstart=no",
            "--separate-threads=yes",
            f"--callgrind-out-file={directory}/%p",
        ]
        progress("starting the variants under valgrind")
        with (
            starting(variants, *under, slowed=SLOWED) as turns,
            ThreadPoolExecutor(AT_A_TIME) as pool,
        ):
            work = [
                pool.submit(_count, turn, plan[turn.variant.name], Path(directory), progress)
                for turn in turns
            ]
            for turn, done in zip(turns, work, strict=True):
                for scene, counted in done.result().items():
                    samples[scene][turn.variant.name] = [counted]
    return table_of("instructions", samples, variants)


def _count(
    turn: Turn, scenes: Sequence[str], directory: Path, progress: Callable[[str], None]
) -> dict[str, tuple[float, float]]:
    """Count one variant's scenes; what comes out is looked at before anything is counted."""
    progress(f"counting: {turn.variant.name}")
    turn.ask("keep", spans=True)
    for scene in scenes:
        number = FEW.get(scene, OPERATIONS)
        turn.ask("run", scene=scene, operations=number)
        turn.check(scene, number)
    turn.ask("keep", spans=False)
    callgrind = _Callgrind(turn.process.pid, directory)
    callgrind.on()
    return {scene: _difference(turn, scene, callgrind) for scene in scenes}


def _difference(turn: Turn, scene: str, callgrind: "_Callgrind") -> tuple[float, float]:
    few = FEW.get(scene, OPERATIONS)
    counted = []
    for operations in (few, few * TIMES):
        callgrind.dump()
        turn.ask("run", scene=scene, operations=operations, settle=False)
        thread, others = callgrind.dump()
        turn.ask("settle")
        counted.append((thread, thread + others + sum(callgrind.dump())))
        turn.check(scene, operations)
    (thread, process), (more_thread, more_process) = counted
    done = few * (TIMES - 1)
    return (more_thread - thread) / done, (more_process - process) / done


class _Callgrind:
    """A process under callgrind, controlled from here."""

    def __init__(self, pid: int, directory: Path) -> None:
        self._pid = pid
        self._directory = directory

    def on(self) -> None:
        """Begin to count."""
        self._control("--instr=on")

    def dump(self) -> tuple[int, int]:
        """Return what was counted since the last time: of the first thread, and of all others."""
        self._control("--dump")
        first = others = 0
        for path in self._directory.glob(f"{self._pid}.*-*"):
            counted = _total(path)
            if path.name.endswith("-01"):
                first += counted
            else:
                others += counted
            path.unlink()
        return first, others

    def _control(self, command: str) -> None:
        subprocess.run(
            ["callgrind_control", command, str(self._pid)], check=True, capture_output=True
        )


def _total(path: Path) -> int:
    with path.open() as lines:
        return sum(int(line.split()[1]) for line in lines if line.startswith("totals:"))

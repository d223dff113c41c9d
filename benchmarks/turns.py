"""The variants' processes, started, spoken to one at a time, and ended."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks.expected import complaints
from benchmarks.output import Output
from benchmarks.receiver import receiving
from benchmarks.servers import redis_server
from benchmarks.variants import Variant

ROOT = Path(__file__).resolve().parents[1]


class WrongOutputError(AssertionError):
    """A variant did not put out what it should. The message says which, and what is wrong."""


class Turn:
    """One variant's process, and what its histogram had counted when it was last asked."""

    def __init__(self, variant: Variant, pid: int, told: IO[str], answers: IO[str]) -> None:
        self.variant = variant
        self.pid = pid
        self._told, self._answers = told, answers
        self._counted: Mapping[str, int] = {}

    def ready(self) -> None:
        """Wait until it is instrumented and has its engines."""
        self._answer()

    def ask(self, act: str, **arguments: Any) -> Any:
        """Have it do one of the acts of `benchmarks.child`."""
        self._told.write(json.dumps([act, arguments]) + "\n")
        self._told.flush()
        return self._answer()

    def check(self, scene: str, operations: int) -> None:
        """Raise `WrongOutputError` unless all came out that so many operations make."""
        output = Output(**self.ask("output"))
        wrong = complaints(self.variant, scene, operations, output, self._counted)
        self._counted = output.durations
        if wrong:
            raise WrongOutputError("; ".join(wrong))

    def _answer(self) -> Any:
        line = self._answers.readline()
        if not line:
            raise RuntimeError(f"{self.variant.name} has ended before its time")
        return json.loads(line)


def environment() -> dict[str, str]:
    """Return the environment without what would change or slow the work, and with fixed hashes."""
    strange = ("OTEL_", "COVERAGE", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(strange)}
    return kept | {"PYTHONHASHSEED": "0"}


def memory() -> str | None:
    """Return where files are in memory, if anywhere: a disk's time is nobody's here."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def shipping(redis: str, number: int) -> dict[str, str]:
    """Return what has a variant ship, each into a stream of its own."""
    return {"OTEL_DBEVENTS_BUS_URL": redis, "OTEL_DBEVENTS_STREAM": f"variant{number}"}


@contextmanager
def starting(variants: Sequence[Variant]) -> Iterator[list[Turn]]:
    """Run a process of each variant within the block."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory())))
        receiver = stack.enter_context(receiving())
        ships = any(variant.ships for variant in variants)
        redis = stack.enter_context(redis_server()) if ships else ""
        turns = []
        for number, variant in enumerate(variants):
            own = directory / str(number)
            own.mkdir()
            said = [json.dumps(variant.to_dict()), f"{receiver}/{number}", str(own), "1"]
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.child", *said],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                    env=environment() | (shipping(redis, number) if variant.ships else {}),
                )
            )
            stack.callback(process.terminate)
            assert process.stdin is not None
            assert process.stdout is not None
            turns.append(Turn(variant, process.pid, process.stdin, process.stdout))
        for turn in turns:
            turn.ready()
        yield turns

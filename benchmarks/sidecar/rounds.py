"""The rounds: a process for each row, all of a share taking turns in an order that moves on."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.receiver import receiving
from benchmarks.servers import redis_server
from benchmarks.sidecar.result import Measured, Pair, Part, row_of
from benchmarks.sidecar.shippers import CEILING, SHIPPERS
from benchmarks.sidecar.tellers import SDKS, TELLERS
from benchmarks.turns import ROOT, WrongOutputError, environment

EVENTS, SHORT_EVENTS = 20_000, 2_000
TWO, BESIDE = "ours", "ours, beside"
"""The rows that share a stream."""
Progress = Callable[[str], None]


class Row:
    """One row's process."""

    def __init__(self, share: str, name: str, process: "subprocess.Popen[str]") -> None:
        self.share, self.name, self._process = share, name, process
        self._counted = 0
        self._answer()

    def ask(self, act: str, **arguments: Any) -> dict[str, int]:
        """Have it do one of the acts of `benchmarks.sidecar.child`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([act, arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def take(self, events: int) -> Measured:
        """Do one round, and look at what came out. Raises `WrongOutputError`."""
        took = self.ask("run", events=events)
        output = self.ask("output")
        self.check(events, output)
        return Measured(took["cpu"] / events, took["wall"] / events, output["bytes"] / events)

    def check(self, events: int, output: dict[str, int]) -> None:
        """Raise `WrongOutputError` unless all came out, once."""
        counted = output["counted"]
        if counted >= 0 and self.name == SDKS:  # its numbers are sums since its beginning
            counted, self._counted = counted - self._counted, counted
        if (output["events"], output["different"]) != (events, events) or counted not in (
            -1,
            events,
        ):
            raise WrongOutputError(f"{self.name}: of {events} events came {output}")

    def _answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}")
        answer: dict[str, int] = json.loads(line)
        return answer


def measure(
    rounds: int,
    *,
    short: bool = False,
    progress: Progress = lambda _said: None,
    turned: int = 0,
) -> tuple[Part, ...]:
    """Measure both shares. ``turned`` is how far the order of the rows has moved on already.

    Raises `WrongOutputError` where a row did less than it should.
    """
    events = SHORT_EVENTS if short else EVENTS
    parts = []
    for share, names, ceiling in (
        ("shipping", [*SHIPPERS], CEILING),
        ("telling", [*TELLERS], SDKS),
    ):
        with _rows(share, names) as rows:
            progress(f"{share}: warming up")
            for row in rows:
                row.take(events)
            turns = [row for row in rows if row.name != BESIDE]
            first = turned % len(turns)
            turns = turns[first:] + turns[:first]
            samples = _take_turns(turns, rounds, events, lambda said, of=share: progress(of + said))
            pairs = () if share == "shipping" else (_two(rows, rounds, events),)
        told = [row_of(name, samples[name]) for name in names if name in samples]
        parts.append(Part(share, ceiling, told, pairs))
    return tuple(parts)


def _take_turns(
    rows: Sequence[Row], rounds: int, events: int, progress: Progress
) -> dict[str, list[Measured]]:
    samples: dict[str, list[Measured]] = {row.name: [] for row in rows}
    for number in range(rounds):
        progress(f": round {number + 1} of {rounds}")
        first = number % len(rows)
        for row in [*rows[first:], *rows[:first]]:
            samples[row.name].append(row.take(events))
    return samples


def _two(rows: Sequence[Row], rounds: int, events: int) -> Pair:
    """Have two processes tell one stream's events at once, and one alone, in turns."""
    one, other = (row for row in rows if row.name in (TWO, BESIDE))
    alone, together = [], []
    for _ in range(rounds):
        alone.append(one.take(events))
        one.ask("fill", events=events)
        with ThreadPoolExecutor(2) as pool:
            took = list(pool.map(lambda row: row.ask("share"), (one, other)))
        outputs = [row.ask("output") for row in (one, other)]
        sums = {key: sum(max(0, each[key]) for each in outputs) for key in outputs[0]}
        one.check(events, sums)
        cpu, wall = sum(each["cpu"] for each in took), max(each["wall"] for each in took)
        together.append(Measured(cpu / events, wall / events, 0.0))
    return Pair(row_of("one", alone), row_of("two", together))


@contextmanager
def _rows(share: str, names: Sequence[str]) -> Iterator[list[Row]]:
    with ExitStack() as stack:
        url, receiver = stack.enter_context(redis_server()), stack.enter_context(receiving())
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        processes = []
        for number, name in enumerate(names):
            said = [share, name, url, f"{receiver}/{number}"]
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.sidecar.child", *said],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                    env=environment() | {"TMPDIR": directory},
                )
            )
            stack.callback(process.terminate)
            processes.append((name, process))
        yield [Row(share, *each) for each in processes]

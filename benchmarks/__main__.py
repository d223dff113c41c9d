"""The command: measures, prints the table, and writes what was asked for."""

import argparse
import sys
from collections.abc import Callable, Sequence
from time import monotonic

from benchmarks import arguments as command
from benchmarks import page
from benchmarks.chart import svg_of
from benchmarks.instructions import COUNTED, available, count
from benchmarks.limits import held
from benchmarks.measuring import measure
from benchmarks.result import Result, Table
from benchmarks.runs import Runs
from benchmarks.sidecar import rounds as sidecar
from benchmarks.sidecar.result import Result as SidecarResult
from benchmarks.sidecar.result import Runs as SidecarRuns
from benchmarks.sidecar.result import text_of as sidecar_text_of
from benchmarks.sidecar.result import text_of_runs as sidecar_text_of_runs
from benchmarks.table import text_of, text_of_runs
from benchmarks.turns import WrongOutputError

Progress = Callable[[str], None]


def main(given: Sequence[str] | None = None) -> int:
    """Run; 1 where a variant's output was wrong or a limit is not kept in one of the runs."""
    arguments = command.read(given)
    try:
        return _sidecar(arguments) if arguments.sidecar else _cost(arguments)
    except WrongOutputError as error:
        print(f"\nNot what should have come out, so nothing is told: {error}", file=sys.stderr)
        return 1


def _cost(arguments: argparse.Namespace) -> int:
    runs = Runs([_measured(arguments, number) for number in range(arguments.runs)])
    _say("")
    several = len(runs.results) > 1
    print(text_of_runs(runs) if several else text_of(runs.results[0]))
    if arguments.json:
        arguments.json.write_text((runs if several else runs.results[0]).to_json() + "\n")
    if arguments.chart:
        arguments.chart.write_text(svg_of(runs.together() if several else runs.results[0]))
    if arguments.markdown:
        page.write(arguments.markdown, runs)
    return 0 if runs.ok else 1


def _sidecar(arguments: argparse.Namespace) -> int:
    """Measure the way through Redis instead."""
    results = []
    for number in range(arguments.runs):
        say = _progress(arguments, number)
        parts = sidecar.measure(
            arguments.rounds,
            short=arguments.short,
            progress=say,
            turned=number * arguments.rounds,
        )
        results.append(SidecarResult(arguments.rounds, parts))
    _say("")
    runs = SidecarRuns(results)
    several = len(results) > 1
    print(sidecar_text_of_runs(runs) if several else sidecar_text_of(results[0]))
    if arguments.json:
        arguments.json.write_text((runs if several else results[0]).to_json() + "\n")
    return 0


def _measured(arguments: argparse.Namespace, number: int) -> Result:
    """Do one run, in processes of its own, in an order that goes on from run to run."""
    say, scenes = _progress(arguments, number), arguments.scenes
    tables: list[Table] = []
    begun = monotonic()
    if not arguments.instructions:
        rounds = arguments.rounds
        tables.append(
            measure(scenes, rounds, arguments.short, progress=say, turned=number * rounds)
        )
    counted = [name for name in scenes if name in COUNTED]
    if counted and not arguments.short:
        if available():
            tables += count(counted, progress=say, turned=number, alone=True)
        else:
            say("")
            print(f"Instructions are not counted: {command.NO_VALGRIND}")
    if arguments.runs > 1:
        _say("")
        took = monotonic() - begun
        print(f"run {number + 1} of {arguments.runs} took {took:.0f} s", file=sys.stderr)
    limits = tuple(limit for table in tables if table.unit != "us" for limit in held(table))
    return Result(tuple(tables), limits)


def _progress(arguments: argparse.Namespace, number: int) -> Progress:
    several = f"run {number + 1} of {arguments.runs}: " if arguments.runs > 1 else ""
    return lambda said: _say(f"{several}{said}" if said else "")


def _say(said: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{said}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

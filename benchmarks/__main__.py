"""The command: measures, prints the table, and writes what was asked for."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chart import svg_of
from benchmarks.instructions import COUNTED, available, count
from benchmarks.limits import held
from benchmarks.measuring import measure
from benchmarks.result import Result, Table
from benchmarks.scenes import SCENES
from benchmarks.servers import has_redis
from benchmarks.sidecar import rounds as sidecar
from benchmarks.sidecar.result import Result as SidecarResult
from benchmarks.sidecar.result import text_of as sidecar_text_of
from benchmarks.table import text_of
from benchmarks.turns import WrongOutputError

ROUNDS, SHORT_ROUNDS = 15, 3


def main(given: Sequence[str] | None = None) -> int:
    """Run; 1 where a variant's output was wrong or a limit is not kept."""
    arguments = _parser().parse_args(given)
    if arguments.sidecar:
        return _sidecar(arguments)
    try:
        result = _measured(arguments)
    except WrongOutputError as error:
        print(f"\nNot what should have come out, so nothing is told: {error}", file=sys.stderr)
        return 1
    _progress("")
    print(text_of(result))
    if arguments.json:
        arguments.json.write_text(result.to_json() + "\n")
    if arguments.chart:
        arguments.chart.write_text(svg_of(result))
    return 0 if all(limit.ok for limit in result.limits) else 1


def _sidecar(arguments: argparse.Namespace) -> int:
    """Measure the way through Redis instead."""
    if not has_redis():
        print("There is no redis-server here (apt-get install redis-server)", file=sys.stderr)
        return 1
    rounds = arguments.rounds or (SHORT_ROUNDS if arguments.short else ROUNDS)
    try:
        parts = sidecar.measure(rounds, short=arguments.short, progress=_progress)
    except WrongOutputError as error:
        print(f"\nNot what should have come out, so nothing is told: {error}", file=sys.stderr)
        return 1
    found = SidecarResult(rounds, parts)
    _progress("")
    print(sidecar_text_of(found))
    if arguments.json:
        arguments.json.write_text(found.to_json() + "\n")
    return 0


def _measured(arguments: argparse.Namespace) -> Result:
    scenes = [name for name in SCENES if name in (arguments.only or SCENES)]
    rounds = arguments.rounds or (SHORT_ROUNDS if arguments.short else ROUNDS)
    tables: list[Table] = []
    if not arguments.instructions:
        tables.append(measure(scenes, rounds, arguments.short, progress=_progress))
    if arguments.short or not any(name in COUNTED for name in scenes):
        return Result(tuple(tables))
    if not available():
        _progress("")
        print("Instructions are not counted: valgrind is not here (apt-get install valgrind)")
        return Result(tuple(tables))
    counted = count(scenes, progress=_progress)
    return Result((*tables, counted), held(counted))


def _progress(said: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{said}", end="", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--short", action="store_true", help="few rounds of few; no instructions")
    parser.add_argument(
        "--only",
        action="append",
        choices=SCENES,
        metavar="SCENE",
        help=f"one of {', '.join(SCENES)}; may be given again",
    )
    parser.add_argument("--rounds", type=int, help=f"default {ROUNDS}, short {SHORT_ROUNDS}")
    parser.add_argument("--instructions", action="store_true", help="only count instructions")
    parser.add_argument("--sidecar", action="store_true", help="the way through Redis alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write an SVG there")
    return parser


if __name__ == "__main__":
    sys.exit(main())

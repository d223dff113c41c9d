"""What the command takes, and which of it go together."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import page
from benchmarks.instructions import COUNTED, available
from benchmarks.scenes import SCENES
from benchmarks.servers import has_redis

ROUNDS, SHORT_ROUNDS = 15, 3
NO_VALGRIND = "valgrind is not here (apt-get install valgrind)"
NO_REDIS = "there is no redis-server here (apt-get install redis-server)"


def read(given: Sequence[str] | None) -> argparse.Namespace:
    """Return them. Ends the process with 2 where they cannot go together, and says why."""
    parser = _parser()
    arguments = parser.parse_args(given)
    wrong = _wrong(arguments)
    if wrong:
        parser.error(wrong)
    arguments.rounds = arguments.rounds or (SHORT_ROUNDS if arguments.short else ROUNDS)
    arguments.scenes = [name for name in SCENES if name in (arguments.only or SCENES)]
    return arguments


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description="What it costs, beside contrib's instrumentor. In whole, about ten minutes.",
    )
    parser.add_argument("--runs", type=_number, default=1, help="whole runs after one another")
    parser.add_argument("--short", action="store_true", help="few rounds of few; no instructions")
    parser.add_argument(
        "--only",
        action="append",
        choices=SCENES,
        metavar="SCENE",
        help=f"one of {', '.join(SCENES)}; may be given again",
    )
    parser.add_argument(
        "--rounds", type=_number, help=f"of each run; default {ROUNDS}, short {SHORT_ROUNDS}"
    )
    parser.add_argument("--instructions", action="store_true", help="only count instructions")
    parser.add_argument("--sidecar", action="store_true", help="the way through Redis alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="write an SVG there")
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="write the tables of a whole run there, between the marks of a page that has them",
    )
    return parser


def _number(given: str) -> int:
    number = int(given)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _wrong(arguments: argparse.Namespace) -> str | None:
    """Say what cannot be done, before anything is."""
    return _wrong_together(arguments) or _lacking(arguments)


def _wrong_together(arguments: argparse.Namespace) -> str | None:
    parts = ("short", "only", "instructions", "sidecar")
    partly = [f"--{name}" for name in parts if getattr(arguments, name)]
    if arguments.sidecar:
        for name in ("only", "instructions", "chart"):
            if getattr(arguments, name):
                return f"--sidecar measures the way through Redis alone: not with --{name}"
    if arguments.markdown and partly:
        return f"--markdown tells of whole runs: not with {', '.join(partly)}"
    if not arguments.instructions:
        return None
    if arguments.short:
        return "--short counts no instructions: not with --instructions"
    if arguments.rounds:
        return "instructions are counted once in a run: no --rounds with --instructions"
    if arguments.only and not set(arguments.only) & {*COUNTED}:
        return f"nothing is counted: the callers of {', '.join(arguments.only)} are other threads"
    return None


def _lacking(arguments: argparse.Namespace) -> str | None:
    if (arguments.instructions or arguments.markdown) and not available():
        return NO_VALGRIND
    if (arguments.sidecar or arguments.markdown) and not has_redis():
        return NO_REDIS
    if arguments.markdown:
        try:
            page.parts(arguments.markdown)
        except ValueError as error:
            return f"--markdown: {error}"
    return None

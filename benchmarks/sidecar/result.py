"""What was measured of the way through Redis, as text and as JSON: ratios first."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from benchmarks.result import Spread, versions

_TITLES = {
    "shipping": "Shipping: events that are there become entries, on the application's side",
    "telling": "Telling: entries become spans and numbers that the collector took",
}
_RATE = 10_000
_HEADS = ("speed", "CPU us an event", "bytes in Redis", "core at 10,000/s")


class Measured(NamedTuple):
    """What an event took in one round, in nanoseconds, and its bytes in Redis."""

    cpu: float
    wall: float
    size: float


@dataclass(frozen=True)
class Row:
    """One row of a share."""

    name: str
    cpu_ns: Spread
    wall_ns: Spread
    bytes_in_redis: float


@dataclass(frozen=True)
class Pair:
    """One sidecar alone, and two that share a stream: CPU time of both together."""

    one: Row
    two: Row

    @property
    def by_cpu(self) -> float:
        """How many times as much two can do, where each has a core."""
        return 2 * self.one.cpu_ns.median / self.two.cpu_ns.median

    @property
    def by_wall(self) -> float:
        """How many times as much two did here, where Redis and the receiver want cores too."""
        return self.one.wall_ns.median / self.two.wall_ns.median


@dataclass(frozen=True)
class Part:
    """A share: its rows, and which of them the others' ratios are to."""

    share: str
    ceiling: str
    rows: Sequence[Row]
    pairs: Sequence[Pair] = ()

    def speed(self, row: Row) -> float:
        """How many times the ceiling's speed a row has, by CPU time."""
        of = next(each for each in self.rows if each.name == self.ceiling)
        return of.cpu_ns.median / row.cpu_ns.median


@dataclass(frozen=True)
class Result:
    """Everything of one run."""

    rounds: int
    parts: Sequence[Part]
    versions: dict[str, str] = field(default_factory=versions)

    def to_json(self) -> str:
        """Return it with its ratios."""
        said = asdict(self)
        for part, told in zip(self.parts, said["parts"], strict=True):
            for row, of in zip(part.rows, told["rows"], strict=True):
                of["speed"] = part.speed(row)
            for pair, of in zip(part.pairs, told["pairs"], strict=True):
                of["by_cpu"], of["by_wall"] = pair.by_cpu, pair.by_wall
        return json.dumps(said, indent=2)


@dataclass(frozen=True)
class Runs:
    """Several runs, one after the other, of the same rows."""

    results: Sequence[Result]

    def speeds(self) -> dict[str, dict[str, list[float]]]:
        """Return for each share and row how many times the ceiling's speed it had in each run.

        Of two that share a stream, how many times what one can do.
        """
        found: dict[str, dict[str, list[float]]] = {}
        for parts in zip(*(run.parts for run in self.results), strict=True):
            speeds = found[parts[0].share] = {
                row.name: [part.speed(part.rows[place]) for part in parts]
                for place, row in enumerate(parts[0].rows)
            }
            if parts[0].pairs:
                speeds["two of ours, of one"] = [part.pairs[0].by_cpu for part in parts]
        return found

    def to_json(self) -> str:
        """Return all runs, and the ratios beside each other."""
        runs = [json.loads(result.to_json()) for result in self.results]
        return json.dumps({"speeds": self.speeds(), "runs": runs}, indent=2)


def row_of(name: str, samples: Sequence[Measured]) -> Row:
    """Make a row of its rounds."""
    cpu, wall, size = zip(*samples, strict=True)
    return Row(name, Spread.of(cpu), Spread.of(wall), sum(size) / len(size))


def text_of(result: Result) -> str:
    """Return the table."""
    return "\n".join(_lines(result))


def text_of_runs(runs: Runs) -> str:
    """Return each run's speeds: more is better, so the worst is the lowest."""
    first = runs.results[0]
    lines = [", ".join(f"{name} {number}" for name, number in first.versions.items())]
    numbers = "".join(f"{f'run {each + 1}':>9}" for each in range(len(runs.results)))
    for share, rows in runs.speeds().items():
        lines += ["", f"{_TITLES[share]}: speed by CPU time"]
        lines.append(f"  {'':32}{numbers}{'worst':>9}{'spread':>9}")
        for name, speeds in rows.items():
            told = (*speeds, min(speeds), max(speeds) - min(speeds))
            lines.append(f"  {name:32}" + "".join(f"{each:>8.2f}x" for each in told))
    return "\n".join(lines)


def _lines(result: Result) -> Iterator[str]:
    yield ", ".join(f"{name} {number}" for name, number in result.versions.items())
    for part in result.parts:
        yield ""
        yield f"{_TITLES[part.share]} (medians of {result.rounds} rounds)"
        yield "".join(["  ", " " * 32, *(f"{head:>18}" for head in _HEADS)])
        for row in part.rows:
            speed, cpu = part.speed(row), row.cpu_ns.median / 1_000
            size = f"{row.bytes_in_redis:.0f}" if row.bytes_in_redis > 0 else ""
            core = f"{cpu * _RATE / 1e6:.1%}"
            yield f"  {row.name:32}{speed:>17.2f}x{cpu:>18.2f}{size:>18}{core:>18}"
        for pair in part.pairs:
            yield f"  two of ours: {pair.by_cpu:.2f}x one by CPU time, {pair.by_wall:.2f}x here"

"""What was measured: the one object of which the table, the chart and the JSON are made."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from benchmarks.variants import BARE, Variant

Unit = Literal["us", "instructions"]
Part = Literal["thread", "process"]
Kind = Literal["CPU time", "instructions", "instructions, alone"]
"""What a ratio is of. ``instructions``: in a process that has done all the scenes, which is where
Python's own caches are worst; ``instructions, alone``: in one that has done this scene only."""
Samples = Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]
"""Scene -> variant -> for each round what one operation took: callers' threads, whole process."""


@dataclass(frozen=True)
class Spread:
    """The median, between the quartiles."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True)
class Row:
    """What a variant adds to one operation of the bare one, which itself is told as a whole.

    The ratios are to what ``reference`` adds; None for the bare one, or where that adds nothing.
    """

    variant: str
    reference: str
    thread: Spread
    process: Spread
    thread_ratio: float | None
    process_ratio: float | None

    def ratio(self, part: Part) -> float | None:
        return self.thread_ratio if part == "thread" else self.process_ratio


@dataclass(frozen=True)
class Table:
    """The rows of each scene, all of one unit, each per operation.

    ``alone`` is whether each scene had processes that did nothing else; otherwise one process of
    each variant did them all.
    """

    unit: Unit
    rounds: int
    scenes: Mapping[str, Sequence[Row]]
    alone: bool = False

    @property
    def kind(self) -> Kind:
        if self.unit == "us":
            return "CPU time"
        return "instructions, alone" if self.alone else "instructions"

    def row(self, scene: str, variant: str) -> Row | None:
        """Return the row of a variant, if it was measured."""
        return next((row for row in self.scenes.get(scene, ()) if row.variant == variant), None)


@dataclass(frozen=True)
class Held:
    """A limit, and what was measured. ``budget`` is what it is to become."""

    what: str
    kind: Kind
    measured: float
    limit: float
    budget: float

    @property
    def ok(self) -> bool:
        return self.measured <= self.limit


def versions() -> dict[str, str]:
    """Return what was measured with, and on."""
    packages = ("SQLAlchemy", "opentelemetry-sdk", "opentelemetry-instrumentation-sqlalchemy")
    found = {
        "processor": f"{_processor()} ({os.cpu_count()} cores)",
        "Python": platform.python_version(),
    }
    for name in (*packages, "otel-dbevents"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _processor() -> str:
    with suppress(OSError), Path("/proc/cpuinfo").open() as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclass(frozen=True)
class Result:
    """Everything of one run."""

    tables: tuple[Table, ...] = ()
    limits: tuple[Held, ...] = ()
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


def table_of(
    unit: Unit,
    samples: Samples,
    variants: Sequence[Variant],
    rounds: int = 1,
    alone: bool = False,
) -> Table:
    """Make the rows: each round's difference to the bare variant of that round, then the median."""
    scenes = {scene: _rows(measured, variants) for scene, measured in samples.items()}
    return Table(unit, rounds, scenes, alone)


def _rows(
    measured: Mapping[str, Sequence[tuple[float, float]]], variants: Sequence[Variant]
) -> list[Row]:
    bare = measured[BARE.name]
    added = {
        variant.name: [
            Spread.of([one[part] - base[part] for one, base in zip(rounds, bare, strict=True)])
            for part in (0, 1)
        ]
        for variant in variants
        if (rounds := measured.get(variant.name)) and variant != BARE
    }
    rows = [
        Row(BARE.name, "", *(Spread.of([one[part] for one in bare]) for part in (0, 1)), None, None)
    ]
    for variant in variants:
        if variant.name in added:
            reference = added.get(variant.reference)
            ratios = [
                own.median / reference[part].median
                if reference and reference[part].median > 0
                else None
                for part, own in enumerate(added[variant.name])
            ]
            rows.append(Row(variant.name, variant.reference, *added[variant.name], *ratios))
    return rows

"""The limits that CI guards, on instructions, each beside the budget that it is to come down to."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.result import Held, Part, Table
from benchmarks.scenes import SCENES
from benchmarks.variants import BARE, Variant


@dataclass(frozen=True)
class Limit:
    """What ``ours`` adds is at most ``limit`` times what ``of`` adds."""

    scene: str
    part: Part
    ours: str
    of: str
    budget: float
    limit: float

    @property
    def what(self) -> str:
        where = "caller's thread" if self.part == "thread" else "whole process"
        return f"{SCENES[self.scene].title}, {where}: {self.ours} / {self.of}"


LIMITS: tuple[Limit, ...] = (
    # scene, part, ours, of what, budget, limit: tighten it when the measured ratio has come down
    Limit("held", "thread", "ours", "contrib", 1 / 10, 0.11),
    Limit("held", "thread", "ours", "two empty listeners", 1.0, 0.70),
    Limit("held", "thread", "ours, unsampled", "contrib, unsampled", 1 / 6, 0.18),
    Limit("connect", "thread", "ours", "contrib", 1 / 6, 0.20),
    Limit("llm", "thread", "ours", "two empty listeners", 1.0, 1.20),
    Limit("connect", "process", "ours", "contrib", 1 / 2, 0.65),
    Limit("held", "process", "ours", "contrib", 1 / 5, 0.24),
    Limit("held", "process", "ours, OTLP", "contrib, OTLP", 1 / 5, 0.20),
    Limit("held", "process", "ours, shipped", "contrib", 1 / 8, 0.15),
)


def guarded(scene: str, variant: Variant) -> bool:
    """Whether a limit needs this variant in this scene, or the bare one that it is compared to."""
    needed = [limit for limit in LIMITS if limit.scene == scene]
    return any(variant.name in (BARE.name, limit.ours, limit.of) for limit in needed)


def held(table: Table, limits: Sequence[Limit] = LIMITS) -> tuple[Held, ...]:
    """Hold what was counted against the limits; what was not counted is left out."""
    judged = []
    for limit in limits:
        ours, of = table.row(limit.scene, limit.ours), table.row(limit.scene, limit.of)
        if ours is not None and of is not None:
            added = getattr(ours, limit.part).median, getattr(of, limit.part).median
            judged.append(Held(limit.what, added[0] / added[1], limit.limit, limit.budget))
    return tuple(judged)

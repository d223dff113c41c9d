"""The limits that CI guards, on instructions, each beside the budget that it is to come down to."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.result import Held, Part, Table
from benchmarks.scenes import SCENES
from benchmarks.variants import BARE, Variant


def what_of(scene: str, part: Part, ours: str, of: str) -> str:
    """Say of which ratio the talk is."""
    where = "caller's thread" if part == "thread" else "whole process"
    return f"{SCENES[scene].title}, {where}: {ours} / {of}"


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
        return what_of(self.scene, self.part, self.ours, self.of)

    def ratio(self, table: Table) -> float | None:
        """Return what was measured; None where it was not, or where ``of`` adds nothing."""
        ours, of = table.row(self.scene, self.ours), table.row(self.scene, self.of)
        if ours is None or of is None or getattr(of, self.part).median <= 0:
            return None
        return float(getattr(ours, self.part).median / getattr(of, self.part).median)


LIMITS: tuple[Limit, ...] = (
    # scene, part, ours, of what, budget, limit: tighten it when the measured ratio has come down
    Limit("held", "thread", "ours", "contrib", 1 / 10, 0.11),
    Limit("held", "thread", "ours", "two empty listeners", 1.0, 0.70),
    Limit("held", "thread", "ours, unsampled", "contrib, unsampled", 1 / 6, 0.18),
    Limit("connect", "thread", "ours", "contrib", 1 / 6, 0.155),
    Limit("llm", "thread", "ours", "two empty listeners", 1.0, 1.20),
    Limit("connect", "process", "ours", "contrib", 1 / 2, 0.54),
    Limit("held", "process", "ours", "contrib", 1 / 5, 0.24),
    Limit("held", "process", "ours, OTLP", "contrib, OTLP", 1 / 5, 0.20),
    Limit("held", "process", "ours, shipped", "contrib", 1 / 8, 0.14),
)


def guarded(scene: str, variant: Variant) -> bool:
    """Whether a limit needs this variant in this scene, or the bare one that it is compared to."""
    needed = [limit for limit in LIMITS if limit.scene == scene]
    return any(variant.name in (BARE.name, limit.ours, limit.of) for limit in needed)


def held(table: Table, limits: Sequence[Limit] = LIMITS) -> tuple[Held, ...]:
    """Hold what was counted against the limits; what was not counted is left out."""
    return tuple(
        Held(limit.what, table.kind, ratio, limit.limit, limit.budget)
        for limit in limits
        if (ratio := limit.ratio(table)) is not None
    )

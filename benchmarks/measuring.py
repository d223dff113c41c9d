"""Times: CPU of the callers' threads and of the whole process, all variants taking turns."""

from collections.abc import Callable, Sequence

from benchmarks.result import Table, table_of
from benchmarks.scenes import SCENES, THREADS
from benchmarks.turns import starting
from benchmarks.variants import VARIANTS, Variant


def measure(
    scenes: Sequence[str],
    rounds: int,
    short: bool = False,
    variants: Sequence[Variant] = VARIANTS,
    progress: Callable[[str], None] = lambda _said: None,
    turned: int = 0,
) -> Table:
    """Return what each variant adds, in microseconds. ``turned``: how far the order has moved on.

    Before the rounds each scene is done once in full, and all that came out is looked at; in the
    rounds it is counted. Raises `WrongOutputError` where it is not what it should be.
    """
    sizes = {name: _size(SCENES[name].operations, short) for name in scenes}
    samples: dict[str, dict[str, list[tuple[float, float]]]] = {
        scene: {variant.name: [] for variant in variants} for scene in scenes
    }
    progress("starting a process for each variant")
    with starting(variants) as turns:
        progress("looking at all that comes out")
        for turn in turns:
            turn.ask("keep", spans=True)
            for scene, size in sizes.items():
                turn.ask("run", scene=scene, operations=size)
                turn.check(scene, size)
            turn.ask("keep", spans=False)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            first = (turned + number) % len(turns)
            for scene, size in sizes.items():
                for turn in turns[first:] + turns[:first]:
                    took = turn.ask("run", scene=scene, operations=size)
                    turn.check(scene, size)
                    each = (took["thread"] / size / 1000, took["process"] / size / 1000)
                    samples[scene][turn.variant.name].append(each)
    return table_of("us", samples, variants, rounds)


def _size(operations: int, short: bool) -> int:
    # A multiple of the threads, and enough for a burst to fold.
    return max(2 * THREADS, operations // 5 // THREADS * THREADS) if short else operations

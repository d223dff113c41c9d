"""`python -m tests.fuzz --seconds 600`: tells what it finds, and fails if that is anything."""

import argparse
import random
import sys
import time

from tests.fuzz.checks import complaint, smallest
from tests.fuzz.grammar import Grammar
from tests.fuzz.reference import DIALECTS


def search(seed: int, *, seconds: float = 0, texts: int = 0) -> tuple[int, list[str]]:
    """Try texts until the time is over or there were enough; return how many, and the findings."""
    choose, ends = random.Random(seed), time.monotonic() + seconds
    grammar, tried = Grammar(choose), 0
    found: dict[tuple[str, str], str] = {}
    while tried < texts or (seconds and time.monotonic() < ends):
        dialect = choose.choice(("", *DIALECTS))
        sql = grammar.statement(dialect)
        if choose.random() < 0.8:
            sql = grammar.broken(sql)
        tried += 1
        wrong = complaint(sql, dialect)
        if wrong and sum(kind == (wrong, dialect) for kind in found) < 1:
            small = smallest(sql, dialect, wrong)
            found[wrong, dialect] = f"{wrong} ({dialect or 'unknown dialect'}): {small!r}"
            print(found[wrong, dialect], flush=True)
    return tried, list(found.values())


def main() -> int:
    """Search for as long as is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:.0f} seconds", flush=True)
    tried, found = search(given.seed, seconds=given.seconds)
    print(f"{tried} texts, {len(found)} findings")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())

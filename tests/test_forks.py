"""The registry of what a forked child begins anew."""

import gc
import weakref
from pathlib import Path
from typing import Any

import otel_dbevents
from otel_dbevents import forks

ROOT = Path(otel_dbevents.__file__).parent


class Part:
    def begin_anew(self) -> None: ...


def test_while_one_registers_another_may_and_nobody_is_forgotten() -> None:
    kept: list[Any] = []
    gone, stays, comes, last = [Part(), Part(), Part(), Part()]
    others = [comes.begin_anew]

    def asked_in_between() -> Any:
        while others:  # as a thread would whose turn comes now
            forks._keep(kept, others.pop())
        return asked_in_between

    forks._keep(kept, gone.begin_anew)
    kept.append(asked_in_between)
    kept.append(weakref.WeakMethod(stays.begin_anew))
    del gone
    gc.collect()
    forks._keep(kept, last.begin_anew)
    expected = {part.begin_anew for part in (stays, comes, last)}
    assert {each() for each in kept} == {asked_in_between, *expected}


def test_what_is_gone_is_taken_out_when_the_next_registers() -> None:
    kept: list[Any] = []
    part, gone = Part(), [Part() for _ in range(3)]
    for each in gone:
        forks._keep(kept, each.begin_anew)
    del each
    gone.clear()
    gc.collect()
    forks._keep(kept, part.begin_anew)
    assert [each() for each in kept] == [part.begin_anew]


def test_nobody_else_registers_with_the_interpreter() -> None:
    """Events know msgspec alone: they see to their ids themselves."""
    those = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if "register_at_fork(" in path.read_text(encoding="utf-8")
    }
    assert those == {"forks.py", "events/ids.py"}

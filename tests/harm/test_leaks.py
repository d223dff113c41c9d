"""What goes on for ever holds no more later than soon, and harms nobody."""

import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest
from opentelemetry import context as otel_context
from sqlalchemy import (
    Connection,
    CursorResult,
    Dialect,
    Engine,
    Pool,
    QueuePool,
    create_engine,
    exc,
    text,
)

from otel_dbevents import Config
from otel_dbevents.pipeline import Pipeline
from otel_dbevents.sources.heap import objects_of
from tests.harm.running import run
from tests.services.process import wait_until

POOL_EVENTS = ("checkin", "detach", "invalidate", "soft_invalidate", "close")


def test_looking_for_engines_does_not_break_what_other_threads_are_making():
    engine = create_engine("sqlite://")
    many = [[number] for number in range(300_000)]
    broken: list[BaseException] = []
    stop = threading.Event()

    def make() -> None:
        while not stop.is_set():
            try:
                tuple(number * 1 for number in range(200))
            except SystemError as error:
                broken.append(error)

    makers = [threading.Thread(target=make) for _ in range(3)]
    for maker in makers:
        maker.start()
    for _ in range(15):
        assert engine in objects_of({Engine})
        stop.wait(0.01)
    stop.set()
    for maker in makers:
        maker.join()
    assert broken == []
    assert len(many) == 300_000


@pytest.mark.parametrize(
    ("what", "few", "many", "spare"),
    # Where threads go on publishing, what is under way differs from one look to the next. What is
    # known of queries is kept for 2,048 of them and then begun anew: `engines` goes one such round.
    [
        ("engines", 2_100, 2_100 + 2_048, 300),
        ("statements", 4_500, 6_000, 1_500),
        ("attaching", 20, 80, 5_000),
    ],
)
def test_what_goes_on_for_long_holds_no_more(what, few, many, spare):
    grown = json.loads(run("tests.harm.endless", what, few, many, within=200))
    assert grown["threads"] == 0
    assert grown["watches"] == 0
    assert grown["lost"] == {}
    assert grown["objects"] < spare  # of `engines` that is less than one object for each


def state(engine: Engine) -> dict[str, object]:
    """What SQLAlchemy's classes, and this engine, have of their own; and who listens to pools."""
    from sqlalchemy.event.registry import _key_to_collection

    kinds = (Engine, Pool, QueuePool, Dialect, type(engine.dialect), Connection, CursorResult)
    return {
        **{kind.__qualname__: dict(kind.__dict__) for kind in kinds},
        "engine": dict(engine.__dict__),
        "dialect": dict(engine.dialect.__dict__),
        "pool": set(engine.pool.__dict__),
        "listeners": {name: list(getattr(engine.pool.dispatch, name)) for name in POOL_EVENTS},
        "registered": {key for key, those in _key_to_collection.items() if those},
    }


def test_taken_away_again_sqlalchemy_is_what_it_was():
    engine = create_engine("sqlite://", poolclass=QueuePool)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    before = state(engine)
    pipeline = Pipeline()
    pipeline.attach()
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert state(engine) != before
    assert pipeline.close(60)
    after = state(engine)
    assert after.keys() == before.keys()
    for name, was in before.items():
        assert after[name] == was, name


class Held:
    """What the application holds, and lets go of."""


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Have nothing collected but what nobody refers to."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def let_go(
    flush: Callable[[], object] = bool, expected: dict[str, bool] | None = None
) -> dict[str, bool]:
    """Let go of things, with a connection left in the pool; say which of them are gone by then.

    With ``expected`` a worker is given time to return from where it handled the last batch.
    """
    engine = create_engine("sqlite://", poolclass=QueuePool)

    def in_context() -> weakref.ref[Held]:
        held = Held()
        token = otel_context.attach(otel_context.set_value("app", held))
        with engine.connect() as connection:
            connection.execute(text("SELECT 1")).all()
            connection.execute(text("SELECT 2")).fetchone()
            connection.execute(text("CREATE TEMPORARY TABLE IF NOT EXISTS t (a)"))
            connection.commit()
        otel_context.detach(token)
        return weakref.ref(held)

    def in_frame() -> weakref.ref[Held]:
        held = Held()
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT 1 UNION SELECT 2")).fetchone()
                raise LookupError(held)
        except LookupError:
            return weakref.ref(held)

    def in_failure() -> weakref.ref[Held]:
        held = Held()
        token = otel_context.attach(otel_context.set_value("app", held))
        with engine.connect() as connection:
            try:
                connection.execute(text("SELECT nosuch"))
            except exc.OperationalError as error:
                error.__traceback__ = None
        otel_context.detach(token)
        return weakref.ref(held)

    those = {each.__name__: each() for each in (in_context, in_frame, in_failure)}
    flush()

    def gone() -> dict[str, bool]:
        return {name: each() is None for name, each in those.items()}

    if expected is not None:
        wait_until(lambda: gone() == expected, 20)
    found = gone()
    gc.collect()  # SQLAlchemy's own rings
    engine.dispose()
    return found


@pytest.mark.parametrize("synchronous", [False, True])
def test_what_the_application_lets_go_of_is_gone_when_it_would_be_without_us(
    no_collection: None, synchronous: bool
) -> None:
    alone = let_go()
    assert alone["in_context"]
    pipeline = Pipeline(config=Config(synchronous=synchronous, history=100))
    pipeline.attach()
    assert let_go(lambda: pipeline.flush(30), alone) == alone
    pipeline.close()

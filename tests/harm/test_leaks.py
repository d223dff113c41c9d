"""What goes on for ever holds no more later than soon, and harms nobody."""

import json
import threading

import pytest
from sqlalchemy import Engine, create_engine

from otel_dbevents.sources.heap import objects_of
from tests.harm.running import run


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
    # Where threads go on publishing, what is under way differs from one look to the next.
    [("engines", 400, 900, 250), ("attaching", 20, 80, 5_000)],
)
def test_what_goes_on_for_long_holds_no_more(what, few, many, spare):
    grown = json.loads(run("tests.harm.endless", what, few, many, within=200))
    assert grown["threads"] == 0
    assert grown["watches"] == 0
    assert grown["lost"] == {}
    assert grown["objects"] < spare  # of `engines` that is less than one object for each

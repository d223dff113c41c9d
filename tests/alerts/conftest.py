"""One world for all proofs, in which the stories are played from the beginning."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.alerts.stories import STORIES
from tests.alerts.world import World, world


@pytest.fixture(scope="package")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture(scope="package")
def stories(everything: World) -> Iterator[dict[str, "Future[None]"]]:
    """Play all of them, each on a thread; whoever asks for the result waits for its end."""
    with ThreadPoolExecutor(len(STORIES)) as threads:
        yield {name: threads.submit(story, everything) for name, story in STORIES.items()}

"""One run of all scenes, shared by the tests that look at it from different sides."""

import pytest

from tests.demo.running import Document, demo, document


@pytest.fixture(scope="session")
def told() -> Document:
    return Document(document(demo("--json")))

"""Each way to a database in turn, and the server behind it."""

from typing import Any

import pytest

from tests.health.targets import KINDS, Kind


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each way in turn."""
    return KINDS[request.param]


@pytest.fixture
def server(kind: Kind, request: pytest.FixtureRequest) -> Any:
    """The server behind it."""
    return request.getfixturevalue(kind.server)

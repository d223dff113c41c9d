"""What is not Jaeger, or does not answer, is said."""

import pytest

from otel_dbevents.report import SourceError
from otel_dbevents.report.jaeger import spans_of_jaeger
from tests.langfuse.server import langfuse_server

pytestmark = pytest.mark.newest  # once is enough, whatever the versions


def test_what_is_no_url_is_said():
    with pytest.raises(SourceError, match="not a URL"):
        [*spans_of_jaeger("localhost:16686", "s")]


def test_no_answer_is_said():
    with pytest.raises(SourceError, match=r"did not answer at http://127\.0\.0\.1:1"):
        [*spans_of_jaeger("http://127.0.0.1:1/", "s")]


@pytest.mark.parametrize(("status", "said"), [(500, "answered 500"), (404, "no traces of 's'")])
def test_a_refusal_is_said(status, said):
    with langfuse_server(status) as server, pytest.raises(SourceError, match=said):
        [*spans_of_jaeger(server.endpoint, "s")]


def test_another_server_is_not_taken_for_jaeger(monkeypatch):
    with langfuse_server() as server:
        monkeypatch.setattr(
            "tests.langfuse.server._not_found", lambda: (200, {"message": "welcome"})
        )
        monkeypatch.setattr("tests.langfuse.server._Langfuse._check_keys", lambda self: None)
        with pytest.raises(SourceError, match="did not answer as Jaeger does"):
            [*spans_of_jaeger(server.endpoint, "s")]

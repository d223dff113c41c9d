"""Greenlets: whenever gevent takes the threads over, what they do is told, and nothing waits."""

import subprocess
import sys
from collections import Counter

import pytest

from tests.demo.receiver import receiving
from tests.harm.running import run


@pytest.mark.beside
@pytest.mark.parametrize("patched", ["first", "after-import", "after-auto"])
def test_each_greenlets_statements_are_told_below_its_own_span(tmp_path, patched):
    with receiving() as receiver:
        settings = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_DBEVENTS_FLUSH_TIMEOUT_MS": "3000",
        }
        url = f"sqlite:///{tmp_path / 'app.db'}"
        run("tests.harm.green", patched, url, settings=settings, within=90)
        names = {span.span_id: span.name for span in receiver.spans}
        below = Counter(
            (attribute.value.string_value.rpartition(" ")[2], names[span.parent_span_id])
            for span in receiver.spans
            for attribute in span.attributes
            if attribute.key == "db.query.text"
        )
    assert below == {(f"outer{number}", f"outer {number}"): 5 for number in range(22)}


def test_a_collectors_name_is_looked_up_where_python_begins_no_thread_any_more():
    program = """
from gevent import monkey
monkey.patch_all()
import socket
from gevent import get_hub
from otel_dbevents.exporters.greenlets import look_up_here

def none_to_be_had(*_):
    raise RuntimeError("can't create new thread at interpreter shutdown")

look_up_here()
print(type(get_hub().resolver).__module__)
monkey.get_original = lambda *_: none_to_be_had
look_up_here()
print(type(get_hub().resolver).__module__, socket.getaddrinfo("localhost", 80)[0][4][1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == (
        "gevent.resolver.thread\ngevent.resolver.blocking 80\n",
        "",
    )

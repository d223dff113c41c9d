"""Any span, as hypothesis makes them: what the SDK lets into one, and what only strangers do."""

import enum

from hypothesis import strategies as st
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceState


class Colour(str, enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


texts = st.text(max_size=8) | st.text("ab\x00é\U0001f40d", min_size=120, max_size=140)
numbers = (
    st.integers(-3, 3)
    | st.sampled_from([127, 128, 16383, 16384, 65535, 65536, 2**63 - 1, -(2**63)])
    | st.integers(-(2**63), 2**63 - 1)
)
scalars = st.one_of(
    texts, numbers, st.booleans(), st.floats(), st.binary(max_size=4), st.sampled_from([*Colour])
)
lists = st.lists(scalars, max_size=3)
values = st.recursive(
    scalars | lists | lists.map(tuple),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=5,
)
strange = st.sampled_from(
    [
        None,
        2**63,
        -(2**63) - 1,
        "\ud800",
        object(),
        {1},
        [None, 1],
        range(3),
        Size.LARGE,
        b"\xff",
        (None,),
        {"a": None},
        ["a", object()],
        {"\ud800": 1},
        {Colour.RED: Size.LARGE},
        float("nan"),
    ]
)
keys = st.sampled_from(["a", "db.query.text", "", "é", Colour.RED]) | st.text(max_size=5)
counts = st.sampled_from([0, 0, 0, 1, 128, 2**32 - 1])


@st.composite
def attributes(draw):
    """Draw a mapping as a span holds it: mostly the SDK's own, which keeps what it was given."""
    plain = draw(st.dictionaries(keys, values | strange, max_size=5))
    if draw(st.booleans()):
        return plain
    bounded = BoundedAttributes(immutable=draw(st.booleans()))
    bounded._dict = plain
    bounded.dropped = draw(counts)
    return bounded


@st.composite
def bounded(draw, items):
    """Draw events or links: a list, or the SDK's own with a number of dropped ones."""
    found = draw(st.lists(items, max_size=2))
    if draw(st.booleans()):
        return found
    within = BoundedList.from_seq(3, found)
    within.dropped = draw(counts)
    return within


states = st.sampled_from([None, TraceState(), TraceState([("a", "1"), ("b", "x=y")])])
contexts = st.builds(
    SpanContext,
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    is_remote=st.booleans(),
    trace_state=states,
)
times = st.none() | st.integers(0, 2**64 - 1)
resources = st.sampled_from(
    [
        Resource({"service.name": "shop", "process.pid": 7}),
        Resource({"service.name": "shop", "process.pid": 7}),
        Resource({"n": 1}),
        Resource({"n": True}),
        Resource({"n": 1}, "https://example.org/1"),
        Resource({}),
    ]
)
scopes = st.sampled_from(
    [
        None,
        InstrumentationScope("a"),
        InstrumentationScope("a"),
        InstrumentationScope("a", "1", "https://example.org/1", {"k": "v", "n": 1}),
        InstrumentationScope("b", "", attributes={"k": "v"}),
    ]
)
statuses = st.builds(Status) | st.sampled_from(
    [None, Status(StatusCode.OK), Status(StatusCode.ERROR), Status(StatusCode.ERROR, "broken: é")]
)
events = st.builds(Event, texts, attributes=attributes() | st.none(), timestamp=st.integers(0, 9))
links = st.builds(Link, contexts, attributes() | st.none())
spans = st.builds(
    ReadableSpan,
    texts,
    context=contexts,
    parent=st.none() | contexts,
    resource=resources,
    attributes=attributes() | st.none(),
    events=bounded(events),
    links=bounded(links),
    kind=st.sampled_from(SpanKind),
    status=statuses,
    start_time=times,
    end_time=times,
    instrumentation_scope=scopes,
)
batches = st.lists(spans, max_size=6)

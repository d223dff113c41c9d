"""A span of the bridge cannot be told from one that was started at the time."""

from copy import copy, deepcopy

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context, set_value
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from otel_dbevents.bridge import Bridge
from otel_dbevents.bridge.attributes import SCHEMA_URL, SCOPE, VERSION
from otel_dbevents.events import new_id
from tests.bridge.support import (
    DB_ATTRIBUTES,
    DENIED,
    END,
    INSERT,
    MS,
    PARENT,
    checked_out,
    commit_failed,
    committed,
    connect_failed,
    established,
    executed,
    failed,
    rollback_failed,
    rolled_back,
    timed_out,
)

ERROR = {"error.type": "42501", "db.response.status_code": "42501"}
QUERY = {
    **DB_ATTRIBUTES,
    "db.query.summary": "SELECT customers",
    "db.query.text": "SELECT * FROM customers WHERE id = ?",
}
ENDED = {
    "dbevents.transaction.statement_count": 3,
    "dbevents.transaction.duration": 0.25,
}
COMMIT = {**DB_ATTRIBUTES, "db.operation.name": "COMMIT", **ENDED}
ROLLBACK = {**DB_ATTRIBUTES, "db.operation.name": "ROLLBACK", **ENDED}
POOL = {**DB_ATTRIBUTES, "db.client.connection.pool.name": "orders"}
CLIENT, INTERNAL = SpanKind.CLIENT, SpanKind.INTERNAL
NO_CONNECTION = "no connection became free within the pool's timeout"
HOLDER = SpanContext(
    int.from_bytes(PARENT.trace_id, "big"), int.from_bytes(PARENT.span_id, "big"), False, 1
)

CASES = {
    "query": (executed(), "SELECT customers", CLIENT, QUERY, None),
    "rows": (
        executed(returned_rows=42, fetch_ns=9 * MS),
        "SELECT customers",
        CLIENT,
        {**QUERY, "db.response.returned_rows": 42},
        None,
    ),
    "failed query": (failed(), "SELECT customers", CLIENT, {**QUERY, **ERROR}, DENIED.description),
    "batch": (
        executed(statement=INSERT, batch_size=3),
        "BATCH INSERT carts",
        CLIENT,
        {
            **DB_ATTRIBUTES,
            "db.query.summary": "BATCH INSERT carts",
            "db.operation.name": "BATCH INSERT",
            "db.collection.name": "carts",
            "db.query.text": "INSERT INTO carts VALUES (?)",
            "db.operation.batch.size": 3,
        },
        None,
    ),
    "commit": (committed(), "COMMIT shop", CLIENT, COMMIT, None),
    "failed commit": (
        commit_failed(),
        "COMMIT shop",
        CLIENT,
        {**COMMIT, **ERROR},
        DENIED.description,
    ),
    "rollback": (rolled_back(), "ROLLBACK shop", CLIENT, ROLLBACK, None),
    "failed rollback": (
        rollback_failed(),
        "ROLLBACK shop",
        CLIENT,
        {**ROLLBACK, **ERROR},
        DENIED.description,
    ),
    "connect": (established(), "CONNECT shop", CLIENT, DB_ATTRIBUTES, None),
    "failed connect": (
        connect_failed(),
        "CONNECT shop",
        CLIENT,
        {**DB_ATTRIBUTES, **ERROR},
        DENIED.description,
    ),
    "failed connect nobody explains": (
        connect_failed(failure=None, database=None),
        "CONNECT",
        CLIENT,
        {"error.type": "_OTHER"},
        None,
    ),
    "wait": (
        checked_out(create_ns=10 * MS),
        "CHECKOUT shop",
        INTERNAL,
        {**POOL, "dbevents.connection.create_duration": 0.01},
        None,
    ),
    "timeout": (
        timed_out(),
        "CHECKOUT shop",
        INTERNAL,
        {
            **POOL,
            "dbevents.pool.used": 5,
            "dbevents.pool.max": 5,
            "error.type": "sqlalchemy.exc.TimeoutError",
        },
        NO_CONNECTION,
    ),
}


class Witness(SpanProcessor):
    """Writes down all that a processor can see, and uses what it may use."""

    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    def on_start(self, span, parent_context=None):
        before = visible(span)
        span.set_attribute("set.in.on_start", self.name)
        span.set_attributes({"user.id": "u1"})
        span.add_event("started", {"by": self.name}, 17)
        span.update_name(span.name + "!")
        self.seen.append(
            (self.name, "start", span.is_recording(), before, parent_context, visible(span))
        )

    def on_end(self, span):
        self.seen.append((self.name, "end", visible(span), within(span)))


class Reader(SpanProcessor):
    """Looks at spans that have ended, and does nothing with them before."""

    def __init__(self, name, seen):
        self.name, self.seen = name, seen

    def on_end(self, span):
        self.seen.append((self.name, "end", visible(span), within(span)))


def within(span):
    """What those see who look where they should not: redaction and the like."""
    held, before = span._attributes, dict(span._attributes)
    try:
        held["late"] = "x"
        wrote = dict(held)
    except TypeError:
        wrote = False
    told = span.to_json()
    return {
        "json": told,
        "types": [type(each) for each in (span, held, span.attributes, span.events, span.links)],
        "copies": (held.copy(), copy(held) == held, deepcopy(dict(held)), dict(**span.attributes)),
        "equal": (held == before, span.attributes == before, len(held), "late" in held),
        "bounds": (held.maxlen, held.max_value_len, held.dropped, held._immutable, wrote),
        "lists": [listed(each) for each in (span._events, span._links)],
    }


def listed(held):
    assert isinstance(held, BoundedList)
    return len(held), bool(held), held._dq.maxlen, held.dropped


def visible(span):
    scope = span.instrumentation_scope
    return {
        "name": span.name,
        "kind": span.kind,
        "context": identity(span.get_span_context()),
        "parent": identity(span.parent),
        "times": (span.start_time, span.end_time),
        "status": (span.status.status_code, span.status.description),
        "attributes": list(span.attributes.items()),
        "events": [(e.name, e.timestamp, dict(e.attributes)) for e in span.events],
        "links": [(identity(link.context), dict(link.attributes)) for link in span.links],
        "dropped": (span.dropped_attributes, span.dropped_events, span.dropped_links),
        "resource": (dict(span.resource.attributes), span.resource.schema_url),
        "scope": (scope.name, scope.version, scope.schema_url, dict(scope.attributes or {})),
    }


def identity(context):
    if context is None:
        return None
    state = dict(context.trace_state)
    return context.trace_id, context.span_id, context.is_remote, context.trace_flags, state


class Curious(Sampler):
    """Keeps all, adds to what it keeps, and remembers what it was asked."""

    def __init__(self, decision=Decision.RECORD_AND_SAMPLE):
        self.asked, self.decision = [], decision

    def should_sample(
        self, parent_context, trace_id, name, kind=None, attributes=None, links=None, *rest, **more
    ):
        told = [(identity(link.context), dict(link.attributes)) for link in links or ()]
        asked = (parent_context, trace_id, name, kind, dict(attributes or {}), told, rest, more)
        self.asked.append(asked)
        state = TraceState([("vendor", "kept")])
        return SamplingResult(self.decision, {**(attributes or {}), "sampler.p": 0.5}, state)

    def get_description(self):
        return "Curious"


class Never(TraceIdRatioBased):
    """A sampler that looks like one of the SDK's and is none."""

    def should_sample(self, *asked, **more):
        return SamplingResult(Decision.DROP)


class FixedIds(IdGenerator):
    """What the event's ids should come to: said here once more, in other words."""

    def __init__(self, event_id):
        raw = bytearray(event_id)
        self.span_id = int.from_bytes(raw[8:], "big")
        raw[0], raw[8] = raw[8], raw[0]
        self.trace_id = int.from_bytes(raw, "big")

    def generate_trace_id(self):
        return self.trace_id

    def generate_span_id(self):
        return self.span_id

    def is_trace_id_random(self):
        return True


class CountingIds(IdGenerator):
    """An id generator of the user's own choice."""

    def __init__(self):
        self.last = 0

    def generate_trace_id(self):
        self.last += 1
        return 0xABC0000 + self.last

    def generate_span_id(self):
        self.last += 1
        return 0xDEF0000 + self.last


def parent(*, remote=False, flags=1, state=None):
    context = SpanContext(0x1234 << 100 | 99, 0x77, remote, TraceFlags(flags), TraceState(state))
    return set_span_in_context(NonRecordingSpan(context), set_value("session", "s1", Context()))


def local_parent():
    other = TracerProvider(shutdown_on_exit=False)
    return set_span_in_context(other.get_tracer("application").start_span("request"), Context())


PARENTS = {
    "none": Context,
    "local": local_parent,
    "sampled": parent,
    "unsampled": lambda: parent(flags=0),
    "remote": lambda: parent(remote=True),
    "remote unsampled": lambda: parent(remote=True, flags=0),
    "with state": lambda: parent(state=[("a", "1"), ("b", "2")]),
    "with random flag": lambda: parent(flags=3),
}
SAMPLERS = {
    "on": lambda: ALWAYS_ON,
    "off": lambda: ALWAYS_OFF,
    "ratio": lambda: TraceIdRatioBased(0.5),
    "parent or ratio": lambda: ParentBased(TraceIdRatioBased(0.5)),
    "parent, else as it is": lambda: ParentBased(
        ALWAYS_OFF,
        remote_parent_sampled=TraceIdRatioBased(0.1),
        remote_parent_not_sampled=ALWAYS_ON,
        local_parent_sampled=TraceIdRatioBased(0.7),
        local_parent_not_sampled=TraceIdRatioBased(0.9),
    ),
    "parent within parent": lambda: ParentBased(ParentBased(ALWAYS_ON)),
    "a kind of ratio": lambda: Never(1.0),
    "curious": Curious,
    "record only": lambda: Curious(Decision.RECORD_ONLY),
    "curious and off": lambda: Curious(Decision.DROP),
}


PROCESSORS = {"writing at the start": Witness, "reading at the end": Reader}


RESOURCE = Resource.create()
"""To make it begins two threads, and here is a provider for each span."""


def provider(sampler=None, seen=None, processor=Witness, **options):
    options = {"resource": RESOURCE, "shutdown_on_exit": False} | options
    made = TracerProvider(sampler=sampler, **options)
    if seen is not None:
        made.add_span_processor(processor("first", seen))
        made.add_span_processor(processor("second", seen))
    return made


def go_the_long_way(tracers):
    """Stand in the way of ``start_span``, as some do, so that all spans are started there."""
    tracer = tracers.get_tracer(SCOPE, VERSION, SCHEMA_URL)
    tracer.start_span = tracer.start_span
    tracers.get_tracer = lambda *_: tracer


def start_and_end(tracers, event, case, context):
    """The reference: the same span, made by hand at the time."""
    _, name, kind, attributes, error = case
    links = []
    if event is CASES["timeout"][0]:
        links = [Link(HOLDER, {"dbevents.pool.holder.held": 3.0})]
    tracer = tracers.get_tracer(SCOPE, VERSION, SCHEMA_URL)
    start = END - event.duration_ns
    span = tracer.start_span(name, context, kind, attributes, links, start)
    if "error.type" in attributes:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(END)


def compare(case, sampler, context, **options):
    """Make the span with each kind of processor; return what the writing ones saw."""
    told = [
        compare_with(kind, long, case, sampler, context, **options)
        for kind in PROCESSORS.values()
        for long in (True, False)
    ]
    return told[0]


def compare_with(kind, long, case, sampler, context, ids=None, **options):
    event = case[0]
    ours, theirs = [], []
    one, two = sampler(), sampler()
    tracers = provider(one, ours, kind, id_generator=ids and ids(), **options)
    if long:
        go_the_long_way(tracers)
    bridge = Bridge(tracers, None, None)
    bridge.consume([(event, context)])
    generator = ids() if ids else FixedIds(event.id)
    reference = provider(two, theirs, kind, id_generator=generator, **options)
    start_and_end(reference, event, case, context)
    assert ours == theirs
    assert not bridge.lost
    if isinstance(one, Curious):
        assert one.asked == two.asked
        assert len(one.asked) == 1
    return ours


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_every_kind_of_span_under_every_sampler(case, sampler):
    seen = compare(case, sampler, parent())
    drops = [SAMPLERS[name] for name in ("off", "curious and off", "a kind of ratio")]
    assert bool(seen) is (sampler not in drops)


@pytest.mark.parametrize("context", PARENTS.values(), ids=PARENTS)
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_every_parent_under_every_sampler(context, sampler):
    compare(CASES["failed query"], sampler, context())


@pytest.mark.parametrize("context", [PARENTS[name] for name in ("local", "sampled", "with state")])
@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_a_span_of_folded_queries_under_every_sampler(context, sampler):
    """It is asked for and told once, as one span that began with the first and ended with the last.

    The last run is not folded: it is slow, and shows that the fold was told before it.
    """
    times = (END, END + 20 * MS, END + 50 * MS)
    folded = [executed(end_time_ns=end, returned_rows=2) for end in times]
    last, above = executed(end_time_ns=END + 900 * MS, duration_ns=500 * MS), context()
    one, two, ours, theirs = sampler(), sampler(), [], []
    bridge = Bridge(provider(one, ours), None, None, fold_after=1)
    bridge.consume([(event, above) for event in (executed(), *folded, last)])
    assert not bridge.lost

    tracer = provider(two, theirs, id_generator=FixedIds(folded[0].id)).get_tracer(
        SCOPE, VERSION, SCHEMA_URL
    )
    attributes = {
        **QUERY,
        "db.response.returned_rows": 6,
        "dbevents.folded.count": 3,
        "dbevents.folded.duration": 0.021,
        "dbevents.folded.shortest": 0.007,
        "dbevents.folded.longest": 0.007,
    }
    begin = END - 7 * MS
    tracer.start_span("SELECT customers", above, CLIENT, attributes, [], begin).end(times[-1])
    each = len(theirs)
    assert ours[each : 2 * each] == theirs
    assert len(ours) == 3 * each
    if isinstance(one, Curious):
        assert one.asked[1:2] == two.asked
        assert len(one.asked) == 3


@pytest.mark.parametrize(
    "limits",
    [
        SpanLimits(max_attributes=2),
        SpanLimits(max_attribute_length=5),
        SpanLimits(max_span_attribute_length=3, max_events=1, max_links=0),
    ],
    ids=["few", "short", "shorter"],
)
@pytest.mark.parametrize("case", [CASES["query"], CASES["timeout"]], ids=["query", "timeout"])
@pytest.mark.parametrize("sampler", [Curious, SAMPLERS["on"]], ids=["asked", "known"])
def test_span_limits_cut_as_they_cut_others(limits, case, sampler):
    assert compare(case, sampler, parent(), span_limits=limits)


def test_the_resource_is_the_providers():
    resource = Resource({"service.name": "shop", "x": 1}, "https://example.com/schema")
    seen = compare(CASES["query"], SAMPLERS["on"], parent(), resource=resource)
    assert seen[0][3]["resource"][0]["service.name"] == "shop"


@pytest.mark.parametrize("context", [Context(), parent()], ids=["root", "child"])
def test_an_id_generator_of_the_users_choice_stays_in_charge(context):
    seen = compare(CASES["query"], SAMPLERS["on"], context, ids=CountingIds)
    assert seen[0][3]["context"][1] & 0xFFF0000 == 0xDEF0000


def test_processors_see_the_captured_context_itself():
    seen, context = [], parent()
    Bridge(provider(ALWAYS_ON, seen), None, None).consume([(executed(), context)])
    assert [each[:2] for each in seen] == [
        ("first", "start"),
        ("second", "start"),
        ("first", "end"),
        ("second", "end"),
    ]
    assert seen[0][4] is context
    assert ("user.id", "u1") in seen[-1][2]["attributes"]


def test_a_ratio_sampler_keeps_its_part_of_the_traces_that_begin_here():
    seen = []
    events = [(executed(id=new_id(), parent=None), Context()) for _ in range(2000)]
    tracers = TracerProvider(sampler=TraceIdRatioBased(0.5), shutdown_on_exit=False)
    tracers.add_span_processor(Witness("only", seen))
    Bridge(tracers, None, None).consume(events)
    kept = sum(each[1] == "end" for each in seen)
    assert 850 < kept < 1150


LENGTHS = st.none() | st.integers(0, 40)
NUMBERS = st.none() | st.integers(0, 12)
HOOKED = st.dictionaries(
    st.sampled_from(["own", "db.namespace", "db.query.text", ""]),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False),
        st.text(max_size=9),
        st.lists(st.text(max_size=5) | st.integers(), max_size=3),
    ),
    max_size=4,
)


@given(
    st.sampled_from(sorted(SAMPLERS)),
    st.sampled_from(sorted(PARENTS)),
    st.sampled_from(["query", "rows", "failed query", "batch", "commit", "timeout"]),
    st.tuples(NUMBERS, LENGTHS, LENGTHS, st.integers(0, 2), st.integers(0, 2)),
    st.none() | HOOKED,
)
@settings(max_examples=40, deadline=None)
def test_whatever_the_limits_attributes_sampler_and_parent(sampler, above, name, limits, hooked):
    event, span_name, kind, attributes, error = case = CASES[name]
    if hooked and name in ("query", "failed query"):
        event = msgspec.structs.replace(event, attributes=hooked)
        failed = ERROR if error else {}
        first = {key: value for key, value in attributes.items() if key not in failed}
        case = (event, span_name, kind, {**first, **hooked, **failed}, error)
    most, length, span_length, events, links = limits
    compare(
        case,
        SAMPLERS[sampler],
        PARENTS[above](),
        span_limits=SpanLimits(
            max_attributes=most,
            max_attribute_length=length,
            max_span_attribute_length=span_length,
            max_events=events,
            max_links=links,
        ),
    )

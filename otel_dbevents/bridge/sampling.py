"""Sampling: what the SDK's own samplers decide, known without asking them.

Most queries of a busy application are not sampled, and nothing should be computed for those. The
SDK's samplers look at the parent and the trace id only, so that for them the answer is a number.
Any other sampler is asked, with all that there is to know of the span.
"""

from collections.abc import Iterator
from itertools import product
from typing import Any, Final, TypeAlias

from opentelemetry.context import Context
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.sampling import (
    Decision,
    ParentBased,
    Sampler,
    StaticSampler,
    TraceIdRatioBased,
)
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

Verdict: TypeAlias = int | None
"""Sampled are the traces whose id's last 8 bytes are less than this; None: the sampler is asked."""
Verdicts: TypeAlias = tuple[Verdict, Verdict, Verdict, Verdict, Verdict]
"""Without a parent; then by `place_of` the parent: local, remote; unsampled, sampled."""

LAST_BYTES: Final = (1 << 64) - 1
_ALL: Final = 1 << 64
_ASK: Final[Verdicts] = (None, None, None, None, None)
_STATIC: Final = StaticSampler.should_sample
_RATIO: Final = TraceIdRatioBased.should_sample
_PARENT: Final = ParentBased.should_sample


def place_of(parent: SpanContext) -> int:
    """Return where in `Verdicts` the answer for a child of ``parent`` is."""
    return (3 if parent.is_remote else 1) + (parent.trace_flags & 1)


def verdicts_of(sampler: Sampler) -> Verdicts:
    """Return what ``sampler`` decides; for one that is not the SDK's own: that it is asked.

    The sampler is tried: should the SDK's decide otherwise than is known here, they are asked too.
    """
    found: Verdicts
    if _is_sdks(sampler) and type(sampler).should_sample is _PARENT:
        known: Any = sampler
        found = (
            _alone(known._root),
            _alone(known._local_parent_not_sampled),
            _alone(known._local_parent_sampled),
            _alone(known._remote_parent_not_sampled),
            _alone(known._remote_parent_sampled),
        )
    else:
        one = _alone(sampler)
        found = (one, one, one, one, one)
    return found if _agrees(sampler, found) else _ASK


def _alone(sampler: Any) -> Verdict:
    """Return the verdict of a sampler that does not look at the parent."""
    if not _is_sdks(sampler):
        return None
    if type(sampler).should_sample is _RATIO:
        return int(sampler.bound)
    if type(sampler).should_sample is _STATIC:
        return {Decision.DROP: 0, Decision.RECORD_AND_SAMPLE: _ALL}.get(sampler._decision)
    return None


def _is_sdks(sampler: object) -> bool:
    return type(sampler).__module__ == sampling.__name__ and "should_sample" not in vars(sampler)


def _agrees(sampler: Sampler, found: Verdicts) -> bool:
    """Try the SDK's sampler wherever it needs no asking. It only computes: nobody sees it tried."""
    attributes = {"a": 1}
    for verdict, context, state in _trials(found):
        for number in {0, max(0, verdict - 1), verdict, LAST_BYTES, 1 << 63, 1 << 56}:
            trace_id = (1 << 64) + min(number, LAST_BYTES)
            kind = SpanKind.CLIENT
            said = sampler.should_sample(context, trace_id, "", kind, attributes, ())
            sampled = trace_id & LAST_BYTES < verdict
            wanted = Decision.RECORD_AND_SAMPLE if sampled else Decision.DROP
            if said.decision is not wanted or (said.trace_state or None) != state:
                return False
            if sampled and dict(said.attributes) != attributes:
                return False
    return True


def _trials(found: Verdicts) -> Iterator[tuple[int, Context, TraceState | None]]:
    nobody = set_span_in_context(NonRecordingSpan(SpanContext(0, 0, False)), Context())
    if found[0] is not None:
        yield found[0], nobody, None
    state = TraceState([("a", "1")])
    for is_remote, flags in product((False, True), (0, 1)):
        parent = SpanContext(1, 1, is_remote, TraceFlags(flags), state)
        verdict = found[place_of(parent)]
        if verdict is not None:
            yield verdict, set_span_in_context(NonRecordingSpan(parent), Context()), state

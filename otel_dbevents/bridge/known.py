"""What is known of the SDK's metrics: the inner parts that `bridge.feeding` goes past.

None of them is public. So each function that is gone past is compared with what it was when
`bridge.feeding` was written, by the names it mentions: one that does something new mentions
something new, and what wraps one mentions something else. Then, and where a part is missing,
nothing is known, and numbers go the public way. The names are those of the SDK 1.40 to 1.45.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from types import FunctionType
from typing import Any, Final


def _part(module: str, name: str) -> Any:
    """Return a part of the SDK's metrics; None where it has no such part."""
    try:
        return getattr(import_module("opentelemetry.sdk.metrics._internal." + module), name, None)
    except ImportError:
        return None


Measurement: Final = _part("measurement", "Measurement")
"""What the SDK's aggregations take."""

_INSTRUMENTS: Final = (_part("instrument", "_Histogram"), _part("instrument", "_Counter"))
_CONSUMER: Final = _part("measurement_consumer", "SynchronousMeasurementConsumer")
_STORAGE: Final = _part("metric_reader_storage", "MetricReaderStorage")
_MATCH: Final = _part("_view_instrument_match", "_ViewInstrumentMatch")
_HISTOGRAM: Final = _part("aggregation", "_ExplicitBucketHistogramAggregation")
_ALIGNED: Final = _part("exemplar.exemplar_reservoir", "AlignedHistogramBucketExemplarReservoir")
_SUM: Final = _part("aggregation", "_SumAggregation")
_SIMPLE: Final = _part("exemplar.exemplar_reservoir", "SimpleFixedSizeExemplarReservoir")
_TRACE_BASED: Final = _part("exemplar.exemplar_filter", "TraceBasedExemplarFilter")

_hash_attributes: Final = _part("_view_instrument_match", "_hash_attributes")

_RECORD: Final = (
    "_is_enabled super record add math isfinite _logger warning name time_ns Measurement"
    " _measurement_consumer consume_measurement get_current"
)
_INSTRUMENT_NAMES: Final = {
    "record": _RECORD,
    "add": _RECORD,
    "_is_enabled": "_meter_config is_enabled",
}
_INNER: Final = (
    (
        _CONSUMER,
        {
            "consume_measurement": "_sdk_config exemplar_filter should_sample value time_unix_nano"
            " attributes context _reader_storages values consume_measurement",
            "add_metric_reader": "_lock dict _reader_storages MetricReaderStorage _sdk_config"
            " _instrument_class_temporality _instrument_class_aggregation"
            " _instrument_class_cardinality_limit",
            "remove_metric_reader": "_lock dict _reader_storages pop",
        },
    ),
    (
        _STORAGE,
        {
            "consume_measurement": "_get_or_init_view_instrument_match instrument"
            " consume_measurement"
        },
    ),
    (
        _MATCH,
        {
            "consume_measurement": "attributes dict _view _attribute_keys items frozenset"
            " _hash_attributes _reset_on_collect _lock _get_or_create_aggregation aggregate get"
            " _attributes_aggregation isinstance _aggregation DefaultAggregation"
            " _create_aggregation _instrument _exemplar_reservoir_factory time_ns __class__"
            " _instrument_class_aggregation",
            "collect": "_lock _attributes_aggregation _reset_on_collect AggregationTemporality"
            " DELTA _previous_collection_start_nanos values collect append",
        },
    ),
    (
        Measurement,
        {
            "__post_init__": "attributes isinstance Mapping object __setattr__ type warning"
            " _clean_attribute_value _logger",
        },
    ),
)
_ALIGNED_HISTOGRAM: Final = (
    (
        _HISTOGRAM,
        {
            "aggregate": "_lock _value _get_empty_bucket_counts value _sum _record_min_max min"
            " _min max _max bisect_left _boundaries _sample_exemplar",
            "_sample_exemplar": "_reservoir offer value time_unix_nano attributes context",
        },
    ),
    (
        _ALIGNED,
        {
            "offer": "_lock _find_bucket_index _reservoir_storage offer BucketIndexError",
            "_find_bucket_index": "enumerate _boundaries len",
            "_reset": "",
        },
    ),
)
_PLAIN_SUM: Final = (
    (
        _SUM,
        {
            "aggregate": "_lock _value value _sample_exemplar",
            "_sample_exemplar": "_reservoir offer value time_unix_nano attributes context",
        },
    ),
    (
        _SIMPLE,
        {
            "offer": "_lock _find_bucket_index _reservoir_storage offer BucketIndexError",
            "_find_bucket_index": "_measurements_seen _size randrange BucketIndexError",
            "_reset": "super _reset _measurements_seen",
        },
    ),
)
_TRACE_BASED_NAMES: Final = (
    "trace get_current_span INVALID_SPAN get_span_context trace_flags sampled"
)
_OPTIONAL: Final = {"_is_enabled", "add_metric_reader", "remove_metric_reader", "__post_init__"}
"""What some of the SDK's versions do without."""


def is_known(instrument: object) -> bool:
    """Tell whether ``instrument`` is the SDK's, and all that its numbers pass as we know it."""
    kind = type(instrument)
    if kind not in _INSTRUMENTS or Measurement is None:
        return False
    consumer = consumer_of(instrument)
    return (
        type(consumer) is _CONSUMER
        and not {*_INSTRUMENT_NAMES} & {*vars(instrument)}
        and "consume_measurement" not in vars(consumer)
        and _mentions_only(kind, _of(kind, _INSTRUMENT_NAMES))
        and all(_mentions_only(part, names) for part, names in _INNER)
    )


def consumer_of(instrument: Any) -> Any:
    """Return what takes the instrument's numbers, for all readers; None when it has none."""
    return getattr(instrument, "_measurement_consumer", None)


def is_aligned_histogram(aggregation: Any) -> bool:
    """Tell whether it is the SDK's histogram of fixed buckets, with an exemplar for each."""
    if type(aggregation) is not _HISTOGRAM or type(aggregation._reservoir) is not _ALIGNED:
        return False
    bounds = tuple(aggregation._boundaries)
    return tuple(aggregation._reservoir._boundaries) == bounds == tuple(sorted(bounds)) and all(
        _mentions_only(part, names) for part, names in _ALIGNED_HISTOGRAM
    )


def is_plain_sum(aggregation: Any) -> bool:
    """Tell whether it is the SDK's sum, with one exemplar: any of those offered, as likely."""
    if type(aggregation) is not _SUM or type(aggregation._reservoir) is not _SIMPLE:
        return False
    return aggregation._reservoir._size == 1 and all(
        _mentions_only(part, names) for part, names in _PLAIN_SUM
    )


def is_by_context(exemplar_filter: object) -> bool:
    """Tell whether its answer depends on the context's span alone, and is no without one."""
    return _IS_TRACE_BASED_KNOWN and type(exemplar_filter) is _TRACE_BASED


def key_of(match: Any, labels: Mapping[str, Any]) -> Any:
    """Return what the aggregation of ``labels`` is found by in the stream ``match``."""
    keys = match._view._attribute_keys
    kept = labels if keys is None else {key: labels[key] for key in labels if key in keys}
    return frozenset(kept.items()) if _hash_attributes is None else _hash_attributes(kept)


def _mentions_only(part: Any, names: Mapping[str, str]) -> bool:
    return all(_is_same(part, name, allowed.split()) for name, allowed in names.items())


def _is_same(part: Any, name: str, allowed: Iterable[str]) -> bool:
    function = getattr(part, name, None)
    if function is None:
        return part is not None and name in _OPTIONAL
    return type(function) is FunctionType and {*function.__code__.co_names} <= {*allowed}


def _of(kind: type, names: Mapping[str, str]) -> Mapping[str, str]:
    """Keep what this kind of instrument has: a histogram does not ``add``."""
    return {name: allowed for name, allowed in names.items() if hasattr(kind, name)}


_IS_TRACE_BASED_KNOWN: Final = _mentions_only(_TRACE_BASED, {"should_sample": _TRACE_BASED_NAMES})

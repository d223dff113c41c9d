"""The one place that wires everything: sources, bus, bridge, and what stands beside them.

Started from the end of the way to its beginning, and stopped in the other order, so that nothing
is lost on the way out.
"""

from otel_dbevents.pipeline.one import flush, instrument, uninstrument
from otel_dbevents.pipeline.parts import objective_of, shown_of
from otel_dbevents.pipeline.wiring import Pipeline

__all__ = ["Pipeline", "flush", "instrument", "objective_of", "shown_of", "uninstrument"]

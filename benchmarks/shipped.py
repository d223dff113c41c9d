"""What came out of a variant that ships: its events, told by the sidecar's own code."""

from opentelemetry.sdk.metrics.export import MetricsData

from benchmarks.output import Output, durations_of_sdk, from_sdk
from otel_dbevents.bus.redis.reader import Reader
from otel_dbevents.sidecar.tellers import Tellers


class Shipped:
    """Reads one application's stream."""

    def __init__(self, url: str, stream: str) -> None:
        self._reader = Reader(url, stream, "benchmark")
        self._tellers = Tellers("benchmark", (None, None), None)
        self._durations: dict[str, int] = {}

    def output(self) -> Output:
        """Return what has come since this was last called."""
        while held := self._reader.read(1_000, 0):
            failed = self._tellers.tell(held)
            if failed:
                raise RuntimeError(f"{len(failed)} entries cannot be told")
            self._reader.commit(held)
        made = self._tellers.collect()
        self._durations |= durations_of_sdk(MetricsData(made.metrics))
        output = Output(total=len(made.spans), durations=self._durations)
        output.add(from_sdk(made.spans))
        return output

"""One variant's process: told by lines of JSON what to do, it does it and answers with a line.

run     a scene; answers with the CPU time of the callers' threads and of the whole process
settle  have all be exported
output  answers with what came out since the last time
"""

import gc
import json
import os
import sys
from dataclasses import asdict
from time import process_time_ns, thread_time_ns
from typing import Any, TextIO

from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from benchmarks import receiver
from benchmarks.output import Output, durations_of_sdk, from_sdk
from benchmarks.scenes import SCENES, World
from benchmarks.variants import INSTRUMENTS, Counting, Telemetry, Variant, wait_longer


class Child:
    """A variant at work in this process."""

    def __init__(self, variant: Variant, endpoint: str) -> None:
        self._endpoint = endpoint
        self._telemetry = Telemetry(variant, endpoint)
        INSTRUMENTS[variant.made_by](variant, self._telemetry)
        self._world = World(variant.sampled)
        self._shipped = None
        if variant.ships:
            import otel_dbevents
            from benchmarks.shipped import Shipped

            config = otel_dbevents.Config()
            self._shipped = Shipped(config.bus_url, config.stream)

    def run(self, scene: str, operations: int, settle: bool = True) -> dict[str, int]:
        """Do a scene's operation so many times. CPU time in nanoseconds, workers' included."""
        with self._world.request(), SCENES[scene].open(self._world) as operate:
            gc.collect()
            gc.freeze()  # what was there before is not looked at again
            thread, process = thread_time_ns(), process_time_ns()
            others = operate(operations)
            on_threads = thread_time_ns() - thread + others
            if settle:
                self._telemetry.settle()
            in_process = process_time_ns() - process
        return {"thread": on_threads, "process": in_process}

    def settle(self) -> dict[str, int]:
        """Have all be exported that is not yet."""
        self._telemetry.settle()
        return {}

    def keep(self, spans: bool) -> dict[str, int]:
        """Keep the spans from now on, or only count them."""
        if isinstance(self._telemetry.exporter, Counting):
            self._telemetry.exporter.kept = [] if spans else None
        return {}

    def output(self) -> dict[str, Any]:
        """Return the `Output` since this was last called."""
        self._telemetry.settle()
        if self._shipped is not None:
            return asdict(self._shipped.output())
        exporter, reader = self._telemetry.exporter, self._telemetry.reader
        if not isinstance(exporter, Counting):
            self._telemetry.meters.force_flush()
            return asdict(receiver.ask(self._endpoint))
        output = Output(total=exporter.spans)
        exporter.spans = 0
        if exporter.kept is not None:
            output.add(from_sdk(exporter.kept))
            exporter.kept = []
        if isinstance(reader, InMemoryMetricReader):
            output.durations = durations_of_sdk(reader.get_metrics_data())
        return asdict(output)


def serve(
    variant: Variant, endpoint: str, directory: str, slowed: int, told: TextIO, answers: TextIO
) -> None:
    """Be that variant, and do what is told until nothing more comes."""
    wait_longer(slowed)
    os.chdir(directory)  # the file's name, and so its hash, is the same in all runs
    child = Child(variant, endpoint)
    print(json.dumps({}), file=answers, flush=True)
    for line in told:
        act, arguments = json.loads(line)
        print(json.dumps(getattr(child, act)(**arguments)), file=answers, flush=True)


def main() -> None:
    variant, endpoint, directory, slowed = sys.argv[1:]
    serve(Variant(**json.loads(variant)), endpoint, directory, int(slowed), sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()

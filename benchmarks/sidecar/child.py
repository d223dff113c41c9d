"""One row's process: told by lines of JSON what to do, it does it and answers with a line.

Its arguments are the share of the work, the row, the Redis and the receiver.
"""

import gc
import json
import sys
from collections.abc import Callable
from time import perf_counter_ns, process_time_ns
from typing import Any

from benchmarks import receiver
from benchmarks.sidecar.load import events_of
from benchmarks.sidecar.shippers import SHIPPERS, arrived
from benchmarks.sidecar.tellers import TELLERS
from otel_dbevents.bus.redis.connecting import connect


class Shipping:
    """Ships what it makes beforehand."""

    def __init__(self, row: str, url: str, endpoint: str) -> None:
        del endpoint
        self._stream, self._client = f"ship:{row}", connect(url, timeout=60)
        self._ship = SHIPPERS[row](url, self._stream)

    def run(self, events: int) -> dict[str, int]:
        """Ship so many; CPU and wall time in nanoseconds."""
        made = events_of(events)
        return _timed(lambda: self._ship(made))

    def output(self) -> dict[str, int]:
        """Return how many different events are in the stream, and in how many bytes; empty it."""
        ids, size = arrived(self._client, self._stream)
        self._client.delete(self._stream)
        return {"events": len(ids), "different": len(set(ids)), "bytes": size, "counted": -1}


class Telling:
    """Tells what it has put into its stream beforehand."""

    def __init__(self, row: str, url: str, endpoint: str) -> None:
        self._endpoint = endpoint
        stream = f"tell:{row.removesuffix(', beside')}"
        self._way = TELLERS[row](url, stream, endpoint)

    def run(self, events: int) -> dict[str, int]:
        """Tell so many; CPU and wall time in nanoseconds."""
        self.fill(events)
        return _timed(lambda: self._way.tell(events))

    def fill(self, events: int) -> dict[str, int]:
        """Have so many events in the stream."""
        self._way.fill(events_of(events))
        return {}

    def share(self) -> dict[str, int]:
        """Tell what is in the stream together with another process; as `run`."""
        return _timed(self._way.share)

    def output(self) -> dict[str, int]:
        """Return how many spans the receiver has, how many of them are well, and the numbers."""
        output = receiver.ask(self._endpoint)
        spans = output.spans.get("SELECT", 0)
        whole = {"db.query.text", "db.response.returned_rows", "db.namespace"}
        well = whole <= set(output.common.get("SELECT", ()))
        wrong = output.misshapen.get("SELECT", 0) + (0 if well else spans)
        return {
            "events": spans,
            "different": spans - wrong,
            "counted": output.durations.get("SELECT", 0),
            "bytes": 0,
        }


def _timed(act: Callable[[], object]) -> dict[str, int]:
    gc.collect()
    cpu, wall = process_time_ns(), perf_counter_ns()
    act()
    return {"cpu": process_time_ns() - cpu, "wall": perf_counter_ns() - wall}


def main() -> None:
    share, row, url, endpoint = sys.argv[1:]
    child: Any = {"shipping": Shipping, "telling": Telling}[share](row, url, endpoint)
    print(json.dumps({}), flush=True)
    for line in sys.stdin:
        act, arguments = json.loads(line)
        print(json.dumps(getattr(child, act)(**arguments)), flush=True)


if __name__ == "__main__":
    main()

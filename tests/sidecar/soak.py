"""Events at a steady rate through Redis and a sidecar, with a fault now and then; and what became.

    python -m tests.sidecar.soak --seconds 600 --rate 10000 --faults 9

Prints a report, and ends with 1 unless made = delivered + lost, exactly, and no span came twice
that was not in a killed sidecar's hands.
"""

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from otel_dbevents.events import QueryExecuted
from tests.demo.receiver import REQUESTS, Handler, Receiver
from tests.services.process import NOT_YET, Process, wait_until
from tests.services.redis import Redis
from tests.services.redis import redis as run_redis
from tests.sidecar.running import DATABASE, SOON_S, STATEMENT, Shop, Sidecar, settings, sidecar

_TICK_S = 0.02
_DRAIN_S = 60.0
_BUFFER_S = 10
"""For so long Redis may take nothing without a loss: for longer than each fault is."""


class _Handler(Handler):
    server: "Collector"

    def do_POST(self) -> None:  # noqa: N802 - its base's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.server.take(self.path, body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


class Collector(Receiver):
    """Keeps which queries came, by their number, and how late; of the rest nothing."""

    handler = _Handler
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__()
        self.came = bytearray()
        self.delivered = self.again = 0
        self.late_ms = array("d")
        self.is_down = False

    def take(self, path: str, body: bytes) -> int:
        """Take a request, and return the status that it is answered with."""
        if self.is_down:
            return 503
        if path == "/v1/traces":
            now = time.time_ns()
            for resource in REQUESTS[path].FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self._take(span, now)
        return 200

    def _take(self, span: Any, now: int) -> None:
        number = span.end_time_unix_nano - span.start_time_unix_nano - 1
        if number >= len(self.came):
            self.came.extend(bytes(number + 100_000 - len(self.came)))
        if self.came[number]:
            self.again += 1
            return
        self.came[number] = 1
        self.delivered += 1
        self.late_ms.append((now - span.start_time_unix_nano) / 1e6)


class Soak:
    """The processes, the load, the faults, and the report."""

    def __init__(self, server: Redis, running: Sidecar, collector: Collector, shop: Shop) -> None:
        self.server, self.sidecar, self.collector, self.shop = server, running, collector, shop
        self.enough = threading.Event()
        self.done: list[str] = []
        self.most_lag = 0.0
        self._lost_before: Counter[str] = Counter()
        self._lost_here: Counter[str] = Counter()
        self._rss: dict[str, int] = {}

    def load(self, rate: int) -> None:
        """Make so many events a second, until it is enough."""
        began = time.monotonic()
        while not self.enough.wait(_TICK_S):
            for number in range(self.shop.made, int((time.monotonic() - began) * rate)):
                # How long it took is its number: so the collector knows which one came.
                event = QueryExecuted(DATABASE, None, time.time_ns(), number + 1, STATEMENT)
                self.shop.bus.publish(event)
                self.shop.made += 1

    def look(self) -> None:
        """Take down how it goes."""
        try:
            numbers = self.sidecar.numbers()
        except NOT_YET:
            return
        self.most_lag = max(self.most_lag, numbers["lag_seconds"])
        prefix = 'events_lost_total{reason="'
        self._lost_here = Counter(
            {
                name.removeprefix(prefix).rstrip('"}'): int(n)
                for name, n in numbers.items()
                if name.startswith(prefix)
            }
        )
        for name, process in (("redis", self.server.process), ("sidecar", self.sidecar.process)):
            self._rss[name] = max(self._rss.get(name, 0), _rss(process))

    @property
    def lost(self) -> Counter[str]:
        """How many events are counted as lost, by reason, on both sides and in all lives."""
        here = Counter(self.shop.bus.lost) + Counter(self.shop.sender.lost)
        return self._lost_before + self._lost_here + here

    def redis_killed(self) -> None:
        """Kill Redis, and start it two seconds later."""
        self.server.process.kill()
        time.sleep(2)
        self.server.process.start()

    def sidecar_killed(self) -> None:
        """Kill the sidecar, and start another in its place."""
        self.look()
        self.sidecar.process.kill()
        self._lost_before += self._lost_here
        self._lost_here = Counter()
        self.sidecar.process.start()

    def collector_down(self) -> None:
        """Have the collector take nothing for three seconds."""
        self.collector.is_down = True
        time.sleep(3)
        self.collector.is_down = False

    def redis_still(self) -> None:
        """Have Redis stand still for three seconds."""
        self.server.process.send(signal.SIGSTOP)
        time.sleep(3)
        self.server.process.send(signal.SIGCONT)

    def run(self, seconds: float, rate: int, faults: int) -> dict[str, Any]:
        """Run it, and return the report."""
        ways = (self.redis_killed, self.sidecar_killed, self.collector_down, self.redis_still)
        loading = threading.Thread(target=self.load, args=(rate,))
        began = time.monotonic()
        loading.start()
        for number in range(faults):
            self._wait(began + seconds * (number + 1) / (faults + 1))
            fault = ways[number % len(ways)]
            self.done.append(fault.__name__)
            fault()
        self._wait(began + seconds)
        self.enough.set()
        loading.join()
        self.shop.end()
        self._drain()
        return self.report(seconds, rate)

    def _wait(self, until: float) -> None:
        while time.monotonic() < until:
            self.look()
            time.sleep(min(0.5, max(0.0, until - time.monotonic())))

    def _drain(self) -> None:
        """Wait until nothing is missing, or for so long that it will be."""

        def is_settled() -> bool:
            self.look()
            return self.collector.delivered + self.lost.total() >= self.shop.made

        try:
            wait_until(is_settled, _DRAIN_S)
        except TimeoutError:
            return  # the report says so

    def report(self, seconds: float, rate: int) -> dict[str, Any]:
        """Return what became of all events, and how late they came."""
        late = sorted(self.collector.late_ms) or [0.0]
        made, delivered = self.shop.made, self.collector.delivered
        return {
            "seconds": seconds,
            "rate_wanted": rate,
            "rate": round(made / seconds),
            "faults": self.done,
            "made": made,
            "delivered": delivered,
            "lost": dict(self.lost),
            "unaccounted": made - delivered - self.lost.total(),
            "sent_again": self.collector.again,
            "most_lag_s": round(self.most_lag, 2),
            "late_ms": {
                f"p{share}": round(late[(len(late) - 1) * share // 100]) for share in (50, 95, 99)
            },
            "rss_mib": {**self._rss, "application_and_collector": _own_rss()},
        }


def soak(folder: Path, seconds: float, rate: int, faults: int) -> dict[str, Any]:
    """Run one in this folder, and return the report."""
    with ExitStack() as stack:
        collector = stack.enter_context(_collecting())
        (folder / "redis").mkdir()
        server = stack.enter_context(run_redis(folder / "redis"))
        told = settings(server, "events", collector.endpoint, SOON_S)
        options = ("--claim-after", "1")
        running = stack.enter_context(sidecar(folder, told, *options))
        shop = Shop(server, "events", buffer_size=max(20_000, rate * _BUFFER_S))
        return Soak(server, running, collector, shop).run(seconds, rate, faults)


@contextmanager
def _collecting() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


def _rss(process: Process) -> int:
    return _rss_of(str(process.pid)) if process.running else 0


def _own_rss() -> int:
    return _rss_of("self")


def _rss_of(pid: str) -> int:
    """Return what a process holds of memory, in MiB; 0 where that cannot be known."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS")), 0)


def main() -> int:
    """Run one as the arguments say; return 1 when something is unaccounted for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=int, default=10_000, help="events a second")
    parser.add_argument("--faults", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        report = soak(Path(folder), options.seconds, options.rate, options.faults)
    print(json.dumps(report, indent=1))
    return int(report["unaccounted"] != 0)


if __name__ == "__main__":
    sys.exit(main())

"""Run make's targets beside each other, in lanes.

    python .ci/lanes.py 'lint! suite-servers' suite-rest 'oldest pythons'

Each argument is a lane: targets that are made one after another, up to the first that fails. One
with a `!` ends all lanes when it fails. What the first lane says is shown as it comes, what each
other said when all have ended, whole; then a line for each target. The status is 1 if one failed.

Ctrl-C and SIGTERM interrupt all that was begun and wait until it has ended; a second one kills it.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

MAKE = os.environ.get("MAKE", "make")
LOOK_EVERY_S = 0.1


class Lane:
    """Targets one after another, each in a process group of its own; all they say in one file."""

    def __init__(self, targets: str) -> None:
        self.targets = targets.split()
        self.failed = ""
        """The target that did; empty while none did."""
        self.told: list[str] = []
        """A line for each target that has ended."""
        # Each of its processes writes at the end.
        self._said = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        self._shown = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._began, self._began_at = 0.0, 0

    def step(self) -> bool:
        """Begin the next target once the one before has ended; whether there is one."""
        if self._process is not None:
            if self._process.poll() is None:
                return True
            self._note(self._process.returncode)
            self._process = None
        if not self.targets:
            return False
        self._began, self._began_at = time.monotonic(), self._said.seek(0, os.SEEK_END)
        command = [MAKE, "--no-print-directory", self.targets[0].rstrip("!")]
        self._process = subprocess.Popen(
            command, stdout=self._said, stderr=subprocess.STDOUT, process_group=0
        )
        return True

    def _note(self, status: int) -> None:
        target = self.targets.pop(0)
        took = f"{time.monotonic() - self._began:.0f} s"
        counted = [line.strip("= ") for line in self._since_it_began() if line.startswith("===")]
        word = "well" if status == 0 else f"FAILED ({status})"
        self.told.append(f"{target.rstrip('!')}: {word}, {took}, {(counted or ['done'])[-1]}")
        if status:
            self.told += [f"{each.rstrip('!')}: not begun" for each in self.targets]
            self.failed, self.targets = target, []

    def _since_it_began(self) -> list[str]:
        self._said.seek(self._began_at)
        return self._said.read().decode(errors="replace").splitlines()

    def show(self) -> None:
        """Show what was said since the last time."""
        while text := os.pread(self._said.fileno(), 1 << 16, self._shown):
            self._shown += len(text)
            sys.stdout.buffer.write(text)
        sys.stdout.flush()

    def end(self, by: signal.Signals) -> None:
        """Have all that is running end, and begin nothing more."""
        del self.targets[1:]
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, by)


def run(lanes: Sequence[Lane]) -> None:
    """Let all lanes run to their ends, or up to a failure that ends all."""
    ended_all = False
    while [lane for lane in lanes if lane.step()]:
        lanes[0].show()
        if not ended_all and any(lane.failed.endswith("!") for lane in lanes):
            ended_all = True
            end(lanes)
        time.sleep(LOOK_EVERY_S)


def end(lanes: Sequence[Lane], by: signal.Signals = signal.SIGINT) -> None:
    """Have all that is running end, and begin nothing more."""
    for lane in lanes:
        lane.end(by)


def interrupted(_number: int, _frame: object) -> None:
    """Let a SIGTERM do what Ctrl-C does."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    """Run them, and tell how each ended."""
    for each in (signal.SIGINT, signal.SIGTERM):  # whoever began us may have had it ignored
        signal.signal(each, interrupted)
    lanes = [Lane(each) for each in arguments]
    status = 0
    for by in (None, signal.SIGINT, signal.SIGKILL):
        try:
            if by is not None:
                end(lanes, by)
                status = 130
            run(lanes)
            break
        except KeyboardInterrupt:
            continue
    for lane in lanes:
        lane.show()
    print(*(line for lane in lanes for line in lane.told), sep="\n", flush=True)
    return status or int(any(lane.failed for lane in lanes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""A server of our own: started, awaited, killed and started again, ended by its pid."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError

NOT_YET = (ConnectionError, TimeoutError, URLError)
"""What a server that is about to answer may make a client raise."""

READY_WITHIN = 90.0
"""Seconds; generous, because a deadline is there for what hangs, not for what is slow."""


def wait_until(
    holds: Callable[[], bool],
    within: float = READY_WITHIN,
    why: Callable[[], str] = str,
    every_s: float = 0.05,
) -> None:
    """Return once `holds()`, where an error of NOT_YET means no; raise after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        try:
            if holds():
                return
        except NOT_YET:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within:.0f} s. {why()}")
        time.sleep(every_s)


def begin(running: ExitStack, *servers: AbstractContextManager[Any]) -> list[Any]:
    """Begin servers that do not need each other, all at the same time; `running` ends them."""
    with ThreadPoolExecutor(len(servers)) as pool:
        begun = [pool.submit(running.enter_context, each) for each in servers]
    return [each.result() for each in begun]


class Process:
    """One server process at a time, its output in `log`, its working directory `directory`.

    It sees the settings given and nothing else of our environment, so that an OTEL_* variable of
    whoever runs the tests changes nothing.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        directory: Path,
        ready: Callable[[], bool],
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = [str(part) for part in command]
        self._directory = directory
        self._ready = ready
        self._settings = {"PATH": os.environ["PATH"], "HOME": str(directory), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and return when it answers; the end of its log is in the failure."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C meant for pytest is not meant for it
            )
        try:
            wait_until(self._answers, why=self.last_words)
        except BaseException:
            self.kill()
            raise

    def _answers(self) -> bool:
        if not self.running:
            raise RuntimeError(f"it ended with {self.exit_status}. {self.last_words()}")
        return self._ready()

    @property
    def pid(self) -> int:
        """The last process's number; 0 before the first start."""
        return self._process.pid if self._process is not None else 0

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """What the last process ended with; None while it runs or before the first start."""
        return None if self._process is None else self._process.poll()

    def kill(self) -> None:
        """End it by SIGKILL: it has no chance to flush or close anything."""
        self._end(signal.SIGKILL)

    def stop(self, by: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; after `READY_WITHIN`, make it."""
        self._end(by)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, such as one that makes it stand still, and wait for nothing."""
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def _end(self, by: signal.Signals) -> None:
        if self._process is None or not self.running:
            return
        self._process.send_signal(by)
        try:
            self._process.wait(READY_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self, lines: int = 40) -> str:
        """Return the end of the log, for a failure message."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"{self.name} said:\n" + "\n".join(text.splitlines()[-lines:])

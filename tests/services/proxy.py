"""A proxy before a server: it cuts, delays, halves and swallows what it passes on, when told to."""

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes on what comes. `swallow` cuts the connection in the place of one answer."""

    delay_s = 0.0
    """How long each answer is held back."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._word = b""
        self._ignored = b""
        self.swallowed = 0
        self._part = 0.0
        self._cuts = 0
        self._is_shut = False
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def swallow(self, word: bytes) -> None:
        """Swallow the answer to the next request that has this in it."""
        self._word, self._part = word, 0.0

    def halve(self, word: bytes) -> None:
        """Pass on half of the answer to the next request that has this in it, then cut."""
        self._word, self._part = word, 0.5

    def ignore(self, word: bytes) -> None:
        """Pass on nothing more of a connection whose request has this in it; leave it open."""
        self._ignored = word

    def cut(self) -> None:
        """Cut every connection there is."""
        self._cuts += 1

    def lead_to(self, port: int) -> None:
        """Have each new connection lead to another port; those that there are stay."""
        self._target = port

    def shut(self) -> None:
        """Cut every connection there is and each new one, until `open`."""
        self._is_shut = True
        self.cut()

    def open(self) -> None:
        self._is_shut = False

    def close(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ending.is_set():
            if select.select([self._listener], [], [], 0.05)[0]:
                client, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        if self._is_shut:
            client.close()
            return
        with (
            client,
            suppress(OSError),  # one of the two is gone, or is not there at all
            socket.create_connection(("127.0.0.1", self._target)) as server,
        ):
            self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        is_last, cuts = False, self._cuts
        while not self._ending.is_set() and cuts == self._cuts:
            for ready in select.select([client, server], [], [], 0.05)[0]:
                data = ready.recv(1 << 20)
                if ready is client and self._ignored and self._ignored in data:
                    self._ending.wait()
                    return
                if not data or (ready is server and is_last):
                    client.sendall(data[: int(len(data) * self._part)] if is_last else b"")
                    self.swallowed += is_last
                    return
                if ready is server and self.delay_s:
                    time.sleep(self.delay_s)
                if ready is client and self._word and self._word in data:
                    self._word, is_last = b"", True
                (server if ready is client else client).sendall(data)


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Run one before a port of this machine."""
    made = Proxy(port)
    try:
        yield made
    finally:
        made.close()

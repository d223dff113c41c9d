"""The database of the second act: an SQLite file behind a socket, in a process of its own.

    python database_server.py FILE [PORT]

It prints the port that it listens on, and needs the standard library alone.
It is there to be killed; it ends too when its standard input does, with whoever started it.
One request a line, in JSON, and one answer.
"""

import json
import os
import socketserver
import sqlite3
import sys
import threading
from typing import Any


class _Session(socketserver.StreamRequestHandler):
    """One connection: requests in, answers out."""

    def handle(self) -> None:
        """Answer until the other side has gone."""
        file: str = self.server.file  # type: ignore[attr-defined]
        database = sqlite3.connect(file, timeout=5)
        try:
            for line in self.rfile:
                self.wfile.write(json.dumps(_answer(database, json.loads(line))).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            database.close()


def _answer(database: sqlite3.Connection, request: dict[str, Any]) -> dict[str, Any]:
    try:
        if request["do"] != "execute":
            getattr(database, {"commit": "commit"}.get(request["do"], "rollback"))()
            return {}
        cursor = database.execute(request["sql"], request["parameters"])
        return {
            "columns": [column[0] for column in cursor.description or ()],
            "rows": cursor.fetchall(),
            "changed": cursor.rowcount,
            "last": cursor.lastrowid,
        }
    except sqlite3.Error as error:
        return {"error": type(error).__name__, "message": str(error)}


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, file: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Session)
        self.file = file


def main(file: str, port: int = 0) -> None:
    """Listen, say where, and serve until the end."""
    with _Server(file, port) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        threading.Thread(target=_end_with_the_input, daemon=True).start()
        server.serve_forever()


def _end_with_the_input() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

"""A private PostgreSQL cluster: trust on loopback, no fsync, gone with its directory."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psycopg

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import POSTGRESQL, require

_EMPTY = (
    """SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
    WHERE database = current_database()""",
    """SELECT format('SELECT pg_terminate_backend(%s, 60000)', pid) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid()""",
    """SELECT format('DROP SCHEMA %I CASCADE', nspname) FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'""",
    "SELECT 'CREATE SCHEMA public'",
)
"""Each tells statements to run in a database, after which it is as a new one is."""


@dataclass(frozen=True)
class Postgresql:
    """A running server; `user` may do everything and needs no password."""

    host: str
    port: int
    user: str
    process: Process
    _numbers: "count[int]"
    _free: list[str] = field(default_factory=list)

    def database(self) -> str:
        """Create an empty database and return its name."""
        return self._new("CREATE DATABASE")

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Give an empty database by its name, and take it back: to create one takes 8 MB and long.

        Whoever is connected to it at the end is so no more. The next one has another name.
        """
        free = self._free.pop() if self._free else ""
        name = self._new(f"ALTER DATABASE {free} RENAME TO") if free else self.database()
        yield name
        self._empty(name)
        self._free.append(name)

    def _new(self, how: str) -> str:
        name = f"app{next(self._numbers)}"
        with self._connection("postgres") as connection:
            connection.execute(f"{how} {name}".encode())
        return name

    def _empty(self, name: str) -> None:
        with self._connection(name) as connection:
            for statements in _EMPTY:
                for (statement,) in connection.execute(statements).fetchall():
                    connection.execute(statement.encode())

    def _connection(self, name: str) -> "psycopg.Connection[tuple[str]]":
        return psycopg.connect(
            host=self.host, port=self.port, user=self.user, dbname=name, autocommit=True
        )

    def url(self, database: str, scheme: str = "postgresql+psycopg") -> str:
        """Return the SQLAlchemy URL of a database, with a password that is not asked for.

        `scheme` is a dialect and its driver.
        """
        return f"{scheme}://{self.user}:Xq7password@{self.host}:{self.port}/{database}"


@contextmanager
def postgresql() -> Iterator[Postgresql]:
    """Run a server of its own; stop it and forget its data afterwards."""
    binaries = require(POSTGRESQL).resolve().parent
    # Not pytest's tmp_path: its parents are closed to every user but root, and root may not run it.
    with tempfile.TemporaryDirectory(prefix="pg.", ignore_cleanup_errors=True) as directory:
        root, prefix = Path(directory), _as_another_user()
        if prefix:
            shutil.chown(root, "postgres")
        initdb = [binaries / "initdb", "-D", root / "data", "-U", "app", "--auth=trust"]
        subprocess.run(
            [*prefix, *map(str, initdb), "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"],
            check=True,
            capture_output=True,
            cwd=root,
        )
        (port,) = free_ports(1)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": root,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_prepared_transactions": 8,
            "deadlock_timeout": "50ms",
        }
        command = [*prefix, str(binaries / "postgres"), "-D", str(root / "data")]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        process = Process("postgresql", command, root, lambda: _accepts(binaries, port))
        process.start()
        try:
            yield Postgresql("127.0.0.1", port, "app", process, count(1))
        finally:
            process.stop(signal.SIGQUIT)  # PostgreSQL's immediate shutdown


def _as_another_user() -> list[str]:
    """Return the prefix that makes root the user `postgres`; setpriv keeps the process id."""
    if os.geteuid() != 0:
        return []
    pwd.getpwnam("postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


def _accepts(binaries: Path, port: int) -> bool:
    """Whether the server takes connections; asked only when somebody listens on the port."""
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    ready = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return subprocess.run(ready, check=False).returncode == 0

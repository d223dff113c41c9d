"""A private MariaDB: no password on loopback, nothing flushed to disk, gone with its directory."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pymysql

from tests.services.ports import free_ports
from tests.services.process import Process
from tests.services.tools import MARIADB, require

_USER = "app"
_GRANTS = f"CREATE USER {_USER}@'%';\nGRANT ALL ON *.* TO {_USER}@'%' WITH GRANT OPTION;\n"
"""Run by the server as it starts, a statement to a line."""


@dataclass(frozen=True)
class Mariadb:
    """A running server; `user` may do everything and needs no password."""

    host: str
    port: int
    user: str
    socket: Path
    process: Process
    _numbers: "count[int]"

    def database(self) -> str:
        """Create an empty database and return its name."""
        name = f"app{next(self._numbers)}"
        with pymysql.connect(host=self.host, port=self.port, user=self.user) as connection:
            connection.query(f"CREATE DATABASE {name}")
        return name

    @contextmanager
    def lent(self) -> Iterator[str]:
        """Give an empty database by its name; to create one costs nothing, so each is new."""
        yield self.database()

    def url(self, database: str, scheme: str = "mysql+pymysql") -> str:
        """Return the SQLAlchemy URL of a database: `scheme` is a dialect and its driver."""
        return f"{scheme}://{self.user}@{self.host}:{self.port}/{database}"


@contextmanager
def mariadb() -> Iterator[Mariadb]:
    """Run a server of its own; end it and forget its data afterwards."""
    server = require(MARIADB)
    # Not pytest's tmp_path: its parents are closed to every user but root, and root may not run it.
    with tempfile.TemporaryDirectory(prefix="maria.", ignore_cleanup_errors=True) as directory:
        root = Path(directory)
        data, listens_at = root / "data", root / "socket"
        user = _another_user(root)
        _install(data, user)
        grants = root / "grants.sql"
        grants.write_text(_GRANTS)
        (port,) = free_ports(1)
        command = [str(server), "--no-defaults", *user, *_options(root, port, grants)]
        process = Process("mariadb", command, root, lambda: _accepts(port))
        process.start()
        try:
            yield Mariadb("127.0.0.1", port, _USER, listens_at, process, count(1))
        finally:
            process.kill()  # nothing to keep


def _another_user(root: Path) -> list[str]:
    """Return the option that makes root the user `mysql`, to whom the directory is given."""
    if os.geteuid() != 0:
        return []
    pwd.getpwnam("mysql")
    shutil.chown(root, "mysql")
    return ["--user=mysql"]


def _install(data: Path, user: list[str]) -> None:
    """Make the system tables."""
    program = shutil.which("mariadb-install-db") or "mariadb-install-db"
    options = [
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--innodb-log-file-size=4M",
    ]
    subprocess.run([program, *options, *user], check=True, capture_output=True, cwd=data.parent)


def _options(root: Path, port: int, grants: Path) -> list[str]:
    values = {
        "datadir": root / "data",
        "tmpdir": root,
        "socket": root / "socket",
        "pid-file": root / "pid",
        "bind-address": "127.0.0.1",
        "port": port,
        "init-file": grants,
        "character-set-server": "utf8mb4",
        "innodb-buffer-pool-size": "32M",
        "innodb-log-file-size": "4M",
        "innodb-flush-log-at-trx-commit": 0,
        "innodb-doublewrite": 0,
        "lock-wait-timeout": 20,
    }
    return ["--skip-name-resolve", *(f"--{name}={value}" for name, value in values.items())]


def _admin(port: int, *command: str) -> list[str]:
    program = shutil.which("mariadb-admin") or "mariadb-admin"
    return [program, "--no-defaults", "-h127.0.0.1", f"-P{port}", f"-u{_USER}", *command]


def _accepts(port: int) -> bool:
    """Whether the server takes connections; asked only when somebody listens on the port."""
    socket.create_connection(("127.0.0.1", port), timeout=5).close()
    return subprocess.run(_admin(port, "status"), check=False, capture_output=True).returncode == 0

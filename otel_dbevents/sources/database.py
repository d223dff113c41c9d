"""What an engine says of its database: product, name, server. No user, no password, no path."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace
from sqlalchemy.engine import Engine
from sqlalchemy.engine.url import URL

from otel_dbevents.events import Database, DatabaseType, Environment

_SYSTEMS = {
    "postgresql": DatabaseType.POSTGRESQL,
    "mysql": DatabaseType.MYSQL,
    "mariadb": DatabaseType.MARIADB,
    "sqlite": DatabaseType.SQLITE,
    "mssql": DatabaseType.MICROSOFT_SQL_SERVER,
    "oracle": DatabaseType.ORACLE,
    "cockroachdb": DatabaseType.COCKROACHDB,
    "redshift": DatabaseType.REDSHIFT,
    "clickhouse": DatabaseType.CLICKHOUSE,
    "clickhousedb": DatabaseType.CLICKHOUSE,
    "duckdb": DatabaseType.DUCKDB,
    "snowflake": DatabaseType.SNOWFLAKE,
    "spanner": DatabaseType.SPANNER,
    "ibm_db_sa": DatabaseType.DB2,
    "db2": DatabaseType.DB2,
    "hana": DatabaseType.HANA,
    "firebird": DatabaseType.FIREBIRD,
    "trino": DatabaseType.TRINO,
    "teradatasql": DatabaseType.TERADATA,
    "libsql": DatabaseType.LIBSQL,
}
"""``dialect.name`` to ``db.system.name``."""

_DRIVERS = {
    "libsql": DatabaseType.LIBSQL,
    "aiolibsql": DatabaseType.LIBSQL,
    "turso": DatabaseType.TURSO,
    "aioturso": DatabaseType.TURSO,
    "turso_sync": DatabaseType.TURSO,
}
"""``dialect.driver``, where the dialect's name says ``sqlite`` and it is not."""

_PORTS = {
    DatabaseType.POSTGRESQL: 5432,
    DatabaseType.COCKROACHDB: 26257,
    DatabaseType.REDSHIFT: 5439,
    DatabaseType.MYSQL: 3306,
    DatabaseType.MARIADB: 3306,
    DatabaseType.MICROSOFT_SQL_SERVER: 1433,
    DatabaseType.ORACLE: 1521,
    DatabaseType.CLICKHOUSE: 9000,
}
"""The port where the URL names none; it belongs to the database's identity."""

_TRUE = ("true", "t", "yes", "y", "on", "1")
"""What SQLAlchemy takes for true in a URL's query."""


def database_of(engine: Engine, environment: Environment) -> Database:
    """Return what the engine's URL and dialect say, at connect time, without asking the server."""
    url = engine.url
    system = system_of(engine.dialect)
    address, port = _server(url, system)
    namespace, location = _namespace(url, system) if not address else (url.database or "", "")
    return Database(
        environment,
        system,
        namespace,
        address,
        port,
        _pool_name(engine, address, port, namespace),
        location,
    )


def database_at(environment: Environment, *, path: str = "", url: str = "") -> Database:
    """Return what a libSQL client's address says: an SQLite file, or a server's URL."""
    if not url:
        namespace, location = _namespace(URL.create("sqlite", database=path), DatabaseType.SQLITE)
        return Database(
            environment, DatabaseType.SQLITE, namespace, pool_name=namespace, location=location
        )
    parts = urlsplit(url)
    address = parts.hostname or ""
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    return Database(environment, DatabaseType.LIBSQL, "", address, port, f"{address}:{port}")


def system_of(dialect: Any) -> DatabaseType:
    """Return the product: MariaDB behind MySQL's dialect and libSQL behind SQLite's included."""
    driver = _DRIVERS.get(getattr(dialect, "driver", ""))
    if driver is not None:
        return driver
    if getattr(dialect, "is_mariadb", False):
        return DatabaseType.MARIADB
    return _SYSTEMS.get(dialect.name, DatabaseType.OTHER_SQL)


def recognised(database: Database, engine: Engine | None) -> Database:
    """Return the database as the engine knows it once it has spoken to the server.

    A URL of MySQL's may lead to MariaDB.
    """
    if engine is None:
        return database
    system = system_of(engine.dialect)
    return database if system is database.system_name else replace(database, system_name=system)


def _server(url: URL, system: DatabaseType) -> tuple[str, int]:
    query = url.query
    socket = query.get("unix_socket")  # MySQL's drivers take it before the host, which has no part
    if isinstance(socket, str):
        return socket, 0
    host = url.host or query.get("host") or ""
    if not isinstance(host, str):
        host = host[0]
    if not host:
        return "", 0
    first, _, rest = host.split(",")[0].rpartition(":") if host.count(":") == 1 else (host, "", "")
    if first and rest.isdigit():
        return first, int(rest)
    return host.split(",")[0], url.port or _default_port(url, system)


def _default_port(url: URL, system: DatabaseType) -> int:
    if system is DatabaseType.LIBSQL:  # it goes over HTTP
        return 443 if str(url.query.get("secure", "")).lower() in _TRUE else 80
    return _PORTS.get(system, 0)


def _namespace(url: URL, system: DatabaseType) -> tuple[str, str]:
    """Return a file's name without its folder, and a digest that tells equal names apart."""
    name = url.database or ""
    if system not in (DatabaseType.SQLITE, DatabaseType.LIBSQL, DatabaseType.TURSO):
        return name, ""
    if name in ("", ":memory:") or "mode=memory" in name or url.query.get("mode") == "memory":
        return ":memory:", ""
    path = Path(name.removeprefix("file:").split("?")[0])
    digest = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:8]
    return path.name, digest


def _pool_name(engine: Engine, address: str, port: int, namespace: str) -> str:
    """Return the pool's own name, else ``server.address:server.port/db.namespace``."""
    given = getattr(engine.pool, "logging_name", None) or getattr(
        engine.pool, "_orig_logging_name", None
    )
    if given:
        return str(given)
    server = f"{address}:{port}" if address and port else address
    return f"{server}/{namespace}" if server else namespace

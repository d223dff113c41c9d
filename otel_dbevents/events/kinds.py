"""The words that an event chooses from: environments, database products, states of health."""

from enum import StrEnum


class Environment(StrEnum):
    """Where the application runs. Read without regard to case; an unknown text is `LOCAL`."""

    PRODUCTION = "production"
    STAGING = "staging"
    LOCAL = "local"
    DEVELOPMENT = "development"

    @classmethod
    def _missing_(cls, value: object) -> "Environment | None":
        if not isinstance(value, str):
            return None
        return cls._value2member_map_.get(value.strip().lower(), cls.LOCAL)  # type: ignore[return-value]


class DatabaseType(StrEnum):
    """The database product: the values of ``db.system.name`` (semantic conventions 1.44).

    libSQL and Turso have no value there; theirs are the lower-case product names, as the
    convention asks.
    """

    TURSO = "turso"
    LIBSQL = "libsql"
    SQLITE = "sqlite"
    REDIS = "redis"
    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    MARIADB = "mariadb"
    MICROSOFT_SQL_SERVER = "microsoft.sql_server"
    ORACLE = "oracle.db"
    COCKROACHDB = "cockroachdb"
    CLICKHOUSE = "clickhouse"
    DUCKDB = "duckdb"
    SNOWFLAKE = "snowflake"
    REDSHIFT = "aws.redshift"
    SPANNER = "gcp.spanner"
    DB2 = "ibm.db2"
    HANA = "sap.hana"
    FIREBIRD = "firebirdsql"
    TRINO = "trino"
    TERADATA = "teradata"
    OTHER_SQL = "other_sql"

    @classmethod
    def _missing_(cls, value: object) -> "DatabaseType | None":
        if not isinstance(value, str):
            return None
        return cls._value2member_map_.get(value.strip().lower())  # type: ignore[return-value]


class HealthStatus(StrEnum):
    """How a database answered a health check."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"

    @classmethod
    def _missing_(cls, value: object) -> "HealthStatus | None":
        if not isinstance(value, str):
            return None
        return cls._value2member_map_.get(value.strip().lower())  # type: ignore[return-value]

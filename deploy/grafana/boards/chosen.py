"""What the dashboards choose their data by, and the lines that they share."""

from typing import Final

from deploy.grafana.layout import marks, variable
from deploy.grafana.questions import Json

SERVICE: Final = 'deployment_environment_name=~"$environment",service_name=~"$service"'
DATABASE: Final = f'{SERVICE},db_namespace=~"$database"'
POOL: Final = f'{SERVICE},db_client_connection_pool_name=~"$pool"'

_QUERIES: Final = "db_client_operation_duration_seconds_count"
_POOLS: Final = "db_client_connection_count"
_OF_ENVIRONMENT: Final = 'deployment_environment_name=~"$environment"'

ENVIRONMENT_OF: Final = variable(
    "environment",
    "Environment",
    f"label_values({_QUERIES}, deployment_environment_name)",
)
SERVICE_OF: Final = variable(
    "service",
    "Service",
    f"label_values({_QUERIES}{{{_OF_ENVIRONMENT}}}, service_name)",
    every=".+",  # Loki refuses a question that every record would answer
)
DATABASE_OF: Final = variable(
    "database", "Database", f"label_values({_QUERIES}{{{SERVICE}}}, db_namespace)"
)
POOL_OF: Final = variable(
    "pool", "Pool", f"label_values({_POOLS}{{{SERVICE}}}, db_client_connection_pool_name)"
)


def logs_of(*names: str) -> str:
    """Return the LogQL for records of these event names, of the chosen services.

    Grafana escapes a variable's values for double quotes, not for backticks.
    """
    stream = '{service_name=~"$service", deployment_environment_name=~"$environment"}'
    wanted = "|".join(name.replace(".", "[.]") for name in names)
    return f'{stream} | event_name=~"{wanted}"'


def logs_in_database(*names: str) -> str:
    """Return the same, of the chosen databases."""
    return logs_of(*names) + ' | db_namespace=~"$database"'


FAILURES: Final = marks(
    "Failures",
    "red",
    logs_of("database.connection.failed", "database.checkout.timed_out", "database.commit.failed"),
    "{{event_name}}",
    "{{db_system_name}} {{db_namespace}} {{error_type}}",
)
RECOVERIES: Final = marks(
    "Recoveries",
    "green",
    logs_of("database.recovered"),
    "{{event_name}}",
    "{{db_system_name}} {{db_namespace}} after {{dbevents_duration}} s",
)
MARKS: Final[list[Json]] = [FAILURES, RECOVERIES]
CHOICES: Final[list[Json]] = [ENVIRONMENT_OF, SERVICE_OF, DATABASE_OF]

"""Health: is the database reachable, how fast does it answer, and how do its queries fare.

In: an engine or client, and on the pipeline's worker the durations of queries, many at a time. Out:
`DatabaseHealthCheckCompleted`, returned to who asked and published to the bus.

Promised: a check takes no connection of the application's, is no query in any metric or trace, and
ends in its time whatever the driver does. It never raises for a database's trouble. Scheduled ones
run on one thread of ours, never twice at a time for one database; nothing here runs in a query.
"""

from otel_dbevents.health.desk import check_database_health, check_database_health_async

__all__ = ["check_database_health", "check_database_health_async"]

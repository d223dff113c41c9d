"""APScheduler makes the checks, in the place of our own thread.

    pip install 'apscheduler<4'
    OTEL_DBEVENTS_HEALTH_INTERVAL_S=0 python examples/health_apscheduler.py

DATABASE_URL names the database; without it that is ./shop.db, which is unhealthy until it is there.
Each check is published, so that metrics, log records and handlers have it as they have ours.
"""

import os
import time

from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy import create_engine

import otel_dbevents
from otel_dbevents import DatabaseHealthCheckCompleted

SECONDS = float(os.environ.get("CHECK_EVERY_S", "30"))
ROUNDS = int(os.environ.get("CHECK_TIMES", "0"))


def tell(event: DatabaseHealthCheckCompleted) -> None:
    """Print what a handler of the application's would act on."""
    print(f"{event.status}: {'alert' if event.requires_alert else 'all is well'}", flush=True)


def main() -> None:
    """Check until the process is ended, or so many times."""
    pipeline = otel_dbevents.instrument()
    pipeline.bus.handle(tell, DatabaseHealthCheckCompleted)
    engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///shop.db"))
    scheduler = BackgroundScheduler()
    scheduler.add_job(
        otel_dbevents.check_database_health,
        "interval",
        args=[engine],
        seconds=SECONDS,
        jitter=SECONDS / 10,
        max_instances=1,
        coalesce=True,
    )
    scheduler.start()
    try:
        time.sleep(SECONDS * ROUNDS if ROUNDS else 1e9)
    finally:
        scheduler.shutdown()
        otel_dbevents.flush()


if __name__ == "__main__":
    main()

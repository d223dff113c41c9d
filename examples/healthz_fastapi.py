"""The same route with FastAPI.

pip install fastapi uvicorn; uvicorn examples.healthz_fastapi:app

DATABASE_URL names the database; without it that is ./shop.db, which is unhealthy until it is there.
"""

import os

from fastapi import FastAPI, Response
from sqlalchemy import create_engine

from otel_dbevents import HealthStatus, check_database_health_async

engine = create_engine(os.environ.get("DATABASE_URL", "sqlite:///shop.db"))
app = FastAPI()


@app.get("/healthz")
async def healthz(response: Response) -> dict[str, object]:
    """Check a sync engine, without holding up the event loop."""
    check = await check_database_health_async(engine, timeout_ms=1_000)
    if check.status is HealthStatus.UNHEALTHY:
        response.status_code = 503
    return {"status": check.status, "latency_ms": round(check.latency_ms, 3)}

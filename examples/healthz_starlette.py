"""A route that says whether the database answers: 200, or 503 where it does not.

    pip install starlette uvicorn aiosqlite; uvicorn examples.healthz_starlette:app
    curl -i http://127.0.0.1:8000/healthz

DATABASE_URL names the database, by an async driver; without it that is ./shop.db, which is
unhealthy until somebody else has made it.
The body has the status, the round trip and what the window knows; no host, no name, no message.
"""

import os

from sqlalchemy.ext.asyncio import create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from otel_dbevents import HealthStatus, check_database_health_async

engine = create_async_engine(os.environ.get("DATABASE_URL", "sqlite+aiosqlite:///shop.db"))
SHOWN = ("error.type", "window.queries", "window.error_rate", "window.p95_ms", "window.within_slo")


async def healthz(_request: Request) -> JSONResponse:
    """Degraded is still in service: a load balancer that took it out would make the rest slower."""
    check = await check_database_health_async(engine, timeout_ms=1_000)
    details = check.details or {}
    body = {
        "status": check.status,
        "latency_ms": round(check.latency_ms, 3),
        **{name: details[name] for name in SHOWN if name in details},
    }
    return JSONResponse(body, 503 if check.status is HealthStatus.UNHEALTHY else 200)


app = Starlette(routes=[Route("/healthz", healthz)])

"""The examples run: a route that answers 200 or 503, and another scheduler in our place."""

import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.newest
EXAMPLES = Path(__file__).parents[2] / "examples"


async def ask(name, url, monkeypatch):
    import httpx

    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    module = importlib.import_module(name)
    try:
        transport = httpx.ASGITransport(app=module.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            return await client.get("/healthz")
    finally:
        del sys.modules[name]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(
    ("name", "scheme"),
    [("healthz_starlette", "sqlite+aiosqlite"), ("healthz_fastapi", "sqlite")],
)
async def test_the_route_says_whether_the_database_answers(name, scheme, tmp_path, monkeypatch):
    path = tmp_path / "shop.db"
    answer = await ask(name, f"{scheme}:///{path}", monkeypatch)
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    sqlite3.connect(path).close()
    answer = await ask(name, f"{scheme}:///{path}", monkeypatch)
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    assert answer.json()["latency_ms"] > 0


async def test_the_body_has_no_secret_and_no_place(monkeypatch):
    url = "postgresql+asyncpg://clerk:Xq7password@127.0.0.1:1/shop"
    answer = await ask("healthz_starlette", url, monkeypatch)
    assert answer.status_code == 503
    assert not any(word in answer.text for word in ("Xq7password", "clerk", "127.0.0.1", "shop"))
    assert set(json.loads(answer.text)) == {"status", "latency_ms", "error.type"}


def test_another_scheduler_makes_the_checks_and_they_are_published(tmp_path):
    path = tmp_path / "shop.db"
    sqlite3.connect(path).close()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COV", "OTEL"))}
    environ = {
        **kept,
        "DATABASE_URL": f"sqlite:///{path}",
        "OTEL_DBEVENTS_HEALTH_INTERVAL_S": "0",
        "OTEL_DBEVENTS_HEALTH_DEGRADED_MS": "60000",
        "OTEL_DBEVENTS_HEALTH_UNHEALTHY_MS": "60000",
        "CHECK_EVERY_S": "0.2",
    }
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "health_apscheduler.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ,
    ) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGINT)
        more, said = running.communicate(timeout=100)
    assert {first, *more.splitlines(keepends=True)} == {"healthy: all is well\n"}
    # A slow machine has the scheduler say that it leaves a turn out.
    ours = [line for line in said.splitlines() if " of job " not in line]
    assert (ours[0], ours[-1]) == ("Traceback (most recent call last):", "KeyboardInterrupt")
    assert "Error" not in said

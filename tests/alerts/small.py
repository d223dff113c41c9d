"""A small application on SQLite that works until its input ends, and does what it is told there.

Run by `python -m tests.alerts.small PATH`. Four threads ask the database the whole time, 40 times
a second. A word on a line of its own begins something, the word with "no " before it ends it:
`slow` (each query takes a third of a second), `brisk` (200 queries a second), `hurries` (as many
as there can be), `archive` (a second database is in use), `fails` (one transaction fails in
COMMIT).
"""

import gc
import sys
import threading
import time
from contextlib import suppress

from sqlalchemy import Engine, create_engine, event, exc, text

import otel_dbevents.auto

THREADS = 4
wanted: set[str] = set()
ended = threading.Event()


def connected(connection: object, _: object) -> None:
    connection.create_function("pause", 1, time.sleep)  # type: ignore[attr-defined]


def read(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT pause(:s)"), {"s": 0.35 if "slow" in wanted else 0}).all()


def fail_to_commit(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("PRAGMA foreign_keys = ON"))
        connection.execute(text("INSERT INTO entries VALUES (4711)"))
        connection.commit()


def pause() -> float:
    return 0.002 if "hurries" in wanted else 0.02 if wanted & {"brisk", "slow"} else 0.1


def work(engine: Engine) -> None:
    while not ended.wait(pause()):
        read(engine)
        if "fails" in wanted:
            wanted.discard("fails")
            with suppress(exc.SQLAlchemyError):
                fail_to_commit(engine)


def keep(url: str) -> None:
    """Have a second database while it is wanted: used once, then held."""
    while not ended.wait(0.1):
        if "archive" not in wanted:
            continue
        engine = create_engine(url)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1")).all()
        while "archive" in wanted:
            ended.wait(0.1)
        engine.dispose()
        del engine, connection
        for _ in range(10):  # a check that is under way holds it until it ends
            gc.collect()
            ended.wait(0.1)


def main(path: str) -> None:
    engine = create_engine(f"sqlite:///{path}.db")
    event.listen(engine, "connect", connected)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY)"))
        reference = "account INTEGER REFERENCES accounts DEFERRABLE INITIALLY DEFERRED"
        connection.execute(text(f"CREATE TABLE IF NOT EXISTS entries ({reference})"))
    threads = [threading.Thread(target=work, args=(engine,)) for _ in range(THREADS)]
    threads.append(threading.Thread(target=keep, args=(f"sqlite:///{path}-archive.db",)))
    for thread in threads:
        thread.daemon = True
        thread.start()
    print("ready", flush=True)
    for line in sys.stdin:
        word = line.strip()
        (wanted.discard if word.startswith("no ") else wanted.add)(word.removeprefix("no "))
    ended.set()
    for thread in threads:
        thread.join()
    engine.dispose()
    otel_dbevents.flush()


if __name__ == "__main__":
    main(sys.argv[1])

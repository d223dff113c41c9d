"""An application on SQLAlchemy that works until its input ends, and does what it is told there.

Run by `python -m tests.alerts.application URL`. Two threads ask the database the whole time. A
word on a line of its own begins a misfortune, the word with "no " before it ends it: `held` (every
connection of the pool is held), `locks` (rows are changed that somebody may have locked), `loops`
(one statement in a loop), `commits` (transactions that fail in COMMIT).
"""

import sys
import threading
from contextlib import ExitStack, suppress

from opentelemetry import trace
from sqlalchemy import Engine, create_engine, exc, text

import otel_dbevents.auto

THREADS = 2
POOL = 5
SCHEMA = """
SELECT pg_advisory_xact_lock(1);
CREATE TABLE IF NOT EXISTS accounts (id int PRIMARY KEY, amount int NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS entries (account int REFERENCES accounts DEFERRABLE INITIALLY DEFERRED);
INSERT INTO accounts SELECT generate_series(1, 100) ON CONFLICT DO NOTHING;
"""

tracer = trace.get_tracer("application")
wanted: set[str] = set()
ended = threading.Event()


def read(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT amount FROM accounts WHERE id = 1")).all()


def pay(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET amount = amount + 1 WHERE id = 2"))


def loop(engine: Engine) -> None:
    with tracer.start_as_current_span("page"), engine.connect() as connection:
        for number in range(20):
            connection.execute(text("SELECT amount FROM accounts WHERE id = :id"), {"id": number})


def fail_to_commit(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO entries VALUES (4711)"))


WORK = {"locks": pay, "loops": loop, "commits": fail_to_commit}


def work(engine: Engine) -> None:
    while not ended.wait(0.02):
        for each in (read, *(WORK[word] for word in list(wanted) if word in WORK)):
            with suppress(exc.SQLAlchemyError):
                each(engine)


def hold(engine: Engine) -> None:
    """Take the connections one by one as they come free, and keep them while it is wanted."""
    while not ended.wait(0.02):
        with ExitStack() as held:
            while "held" in wanted and not ended.wait(0.02):
                with suppress(exc.SQLAlchemyError):
                    held.enter_context(engine.connect())


def main(url: str) -> None:
    engine = create_engine(url, pool_size=POOL, max_overflow=0, pool_timeout=0.2)
    with engine.begin() as connection:
        connection.execute(text(SCHEMA))
    threads = [threading.Thread(target=work, args=(engine,)) for _ in range(THREADS)]
    threads.append(threading.Thread(target=hold, args=(engine,)))
    for thread in threads:
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

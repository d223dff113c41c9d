"""What happens in the demonstration, scene by scene. Everything on the database's side is real."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeAlias

from opentelemetry.trace import Tracer, format_trace_id
from sqlalchemy import Engine, select
from sqlalchemy.ext.asyncio import create_async_engine

from otel_dbevents.demo import conversations as ask
from otel_dbevents.demo.assistant import Assistant, AsyncAssistant
from otel_dbevents.demo.script import ScriptedModel
from otel_dbevents.demo.shop import Order, database_url, open_database, open_shop
from otel_dbevents.demo.tools import async_shop_tools, shop_tools


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked, what came back, and in which trace."""

    question: str
    answer: str
    trace_id: str


Asked: TypeAlias = Callable[[str], AbstractContextManager[Callable[[str], None]]]
"""Is entered with each question, and gives what wants to hear of the answer."""


class Shop:
    """The application: a database file, the engines opened on it, and the assistant."""

    def __init__(self, folder: Path, tracer: Tracer, asked: Asked) -> None:
        self.file = folder / "shop.db"
        self.tracer = tracer
        self.asked = asked
        self.model = ScriptedModel(ask.SCRIPTS)
        self._engines = ExitStack()
        self.engine = self.open("shop", database_url(self.file))

    def open(self, pool: str, url: str, **options: float) -> Engine:
        """Return an engine that stays open until the shop closes. Its pool has a name."""
        engine = open_database(url, pool_logging_name=pool, **options)
        self._engines.callback(engine.dispose)
        return engine

    def ask(self, question: str, engine: Engine | None = None) -> Exchange:
        """Put a question to the assistant."""
        assistant = Assistant(self.model, shop_tools(engine or self.engine), self.tracer)
        with self.asked(question) as answered:
            answer = assistant.answer(question)
            answered(answer.text)
        return Exchange(question, answer.text, answer.trace_id)

    def close(self) -> None:
        """Close all connections."""
        self._engines.close()


Played: TypeAlias = list[Exchange]


@dataclass(frozen=True, slots=True)
class Scene:
    """One thing that happens to an application's database, and what to look for in its trace."""

    name: str
    title: str
    look_for: str
    play: Callable[[Shop], Played]


def open_the_shop(shop: Shop) -> Played:
    """Make the tables, and insert the rows in one transaction."""
    with shop.tracer.start_as_current_span("open shop") as span:
        rows = open_shop(shop.engine)
    trace_id = format_trace_id(span.get_span_context().trace_id)
    return [Exchange("", f"{rows:,} rows are in shop.db.", trace_id)]


def answer(shop: Shop) -> Played:
    """Answer a question by a synchronous engine."""
    return [shop.ask(ask.TOP_CITIES)]


def concurrently(shop: Shop) -> Played:
    """Answer two questions at a time by an asynchronous engine."""

    async def both() -> Played:
        engine = create_async_engine(
            database_url(shop.file, "sqlite+aiosqlite"), pool_logging_name="shop-async"
        )
        assistant = AsyncAssistant(shop.model, async_shop_tools(engine), shop.tracer)

        async def ask_it(question: str) -> Exchange:
            with shop.asked(question) as answered:
                answer = await assistant.answer(question)
                answered(answer.text)
            return Exchange(question, answer.text, answer.trace_id)

        try:
            return list(await asyncio.gather(ask_it(ask.BEST_SELLER), ask_it(ask.QUIET_DAY)))
        finally:
            await engine.dispose()

    return asyncio.run(both())


def transaction(shop: Shop) -> Played:
    """Place an order: one unit of work, one COMMIT."""
    return [shop.ask(ask.ORDER_LAMPS)]


def n_plus_one(shop: Shop) -> Played:
    """Load the messages about 200 orders, one order at a time."""
    return [shop.ask(ask.COMPLAINTS)]


def slow_query(shop: Shop) -> Played:
    """Run a join that grows with the square of the data."""
    return [shop.ask(ask.SAME_TASTE)]


def failing_query(shop: Shop) -> Played:
    """Run a query with a wrong column, then the mended one."""
    return [shop.ask(ask.AVERAGE_ORDER)]


def failing_commit(shop: Shop) -> Played:
    """Delete an order that its items still need: the statement passes, the COMMIT does not."""
    return [shop.ask(ask.DELETE_ORDER)]


def pool_timeout(shop: Shop) -> Played:
    """Ask while an export holds the only connection, and once more when it is done."""
    url = database_url(shop.file)
    engine = shop.open("one-only", url, pool_size=1, max_overflow=0, pool_timeout=0.3)
    with _exporting(shop, engine):
        refused = shop.ask(ask.HOW_MANY, engine)
    return [refused, shop.ask(ask.HOW_MANY, engine)]


@contextmanager
def _exporting(shop: Shop, engine: Engine) -> Iterator[None]:
    """Read orders on another thread, and hold the connection until the block ends."""
    started, enough = Event(), Event()

    def export() -> None:
        with (
            shop.tracer.start_as_current_span("export orders"),
            engine.connect() as connection,
            connection.execute(select(Order.id)) as result,
        ):
            result.fetchmany(500)
            started.set()
            enough.wait()

    with ThreadPoolExecutor(max_workers=1) as thread:
        exporting = thread.submit(export)
        try:
            started.wait(timeout=10)
            yield
        finally:
            enough.set()
            exporting.result()


def connect_failure(shop: Shop) -> Played:
    """Ask a replica that is not there yet, and again when it is."""
    file = shop.file.with_name("replica.db")
    engine = shop.open("replica", f"sqlite:///{file.as_uri()}?mode=ro&uri=true")
    failed = shop.ask(ask.REPLICA, engine)
    shutil.copyfile(shop.file, file)
    return [failed, shop.ask(ask.REPLICA, engine)]


OUTAGE = "outage"
"""The second act's name, beside those of the scenes."""

SCENES = (
    Scene(
        "load",
        "The shop opens: bulk inserts in one transaction",
        "one span per batch, with its size; one COMMIT",
        open_the_shop,
    ),
    Scene(
        "answer",
        "A question, a query, an answer",
        "the query below the tool that ran it, below the question that caused it",
        answer,
    ),
    Scene(
        "async",
        "Two questions at a time, by asyncio and aiosqlite",
        "each query in its own question's trace, though both ran on one event loop",
        concurrently,
    ),
    Scene(
        "transaction",
        "An order is placed",
        "the unit of work, statement by statement, and the COMMIT that kept it",
        transaction,
    ),
    Scene(
        "n-plus-one",
        "N+1: one query for the orders, one more for each",
        "ten spans of one query and one for the 190 after them, and the event that says so",
        n_plus_one,
    ),
    Scene(
        "slow",
        "A slow query",
        "where the time went: not into the model",
        slow_query,
    ),
    Scene(
        "error",
        "The model writes a wrong column, and mends it",
        "the failed query, its error, and the query that took its place",
        failing_query,
    ),
    Scene(
        "commit",
        "COMMIT fails: every statement had passed",
        "no TransactionCommitted: the database never said so",
        failing_commit,
    ),
    Scene(
        "pool",
        "The pool is exhausted",
        "the wait, and who held the connection",
        pool_timeout,
    ),
    Scene(
        "connect",
        "A database goes missing, and comes back",
        "two refused attempts, then the recovery",
        connect_failure,
    ),
)
"""The scenes, in the order they are played. The first makes the data that the others need."""

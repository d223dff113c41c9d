"""Slow queries explained: on every driver, by a session of our own, with no value in the plan."""

import gc
import json
import logging
import os
import re
import signal
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import (
    Column,
    Date,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, SingletonThreadPool, StaticPool

from otel_dbevents import codec
from otel_dbevents.events import QueryExecuted, QueryExplained
from otel_dbevents.sources.caller import suppressed
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.explain.asking import _fence_sqlite
from otel_dbevents.sources.explain.explainer import Explainer
from otel_dbevents.sources.watch import Notice
from tests.sources.engines import DRIVERS, Case, Told, case_of

tracer = TracerProvider().get_tracer("test")
metadata = MetaData()
people = Table(
    "people",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50), index=True),
    Column("born", Date),
    Column("note", String(50)),
)


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.newest) if name == "turso" else name
        for name in DRIVERS
        if name != "libsql_replica"
    ]
)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """Each driver in turn, with an empty database of its own."""
    with case_of(request, request.param, tmp_path) as made:
        yield made


@pytest.fixture
def explainer() -> Iterator[Explainer]:
    made = Explainer(timeout_ms=5_000, per_minute=600)
    yield made
    made.close()
    assert made.settle(30)


@pytest.fixture
def source(told: Told, explainer: Explainer) -> Iterator[EngineSource]:
    """A source for which every query is slow."""
    made = EngineSource(told, notice=Notice(slow_ns=1), explainer=explainer)
    made.attach()
    yield made
    made.detach()


@pytest.fixture
def engine(case: Case, told: Told, source: EngineSource, explainer: Explainer) -> Engine:
    """An engine with three people."""
    made = case.engine(pool_size=1, max_overflow=0)

    def fill() -> None:
        with made.begin() as connection:
            metadata.create_all(connection)
            rows = [{"id": n, "name": f"name {n}", "born": date(1990, 1, n)} for n in (1, 2, 3)]
            connection.execute(insert(people), rows)

    case.run(fill)
    assert explainer.settle(30)
    told.forget()
    explainer._lost.clear()
    explainer._recent.clear()
    return made


def run(case: Case, engine: Engine, statement: Any, values: Any = None) -> None:
    def act() -> None:
        with engine.connect() as connection:
            connection.execute(statement, values).all()

    case.run(act)


def test_a_slow_select_is_explained_after_it_was_told(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    with tracer.start_as_current_span("page"):
        run(case, engine, select(people).where(people.c.id == 2))
    assert explainer.settle(30)
    assert explainer.lost == {}
    query, explained = told.one(QueryExecuted), told.one(QueryExplained)
    assert told.events.index(query) < told.events.index(explained)
    assert explained.query_id == query.id
    assert explained.parent == query.parent is not None
    assert explained.database == query.database
    assert explained.statement == query.statement
    assert explained.end_time_ns >= query.end_time_ns
    assert explained.duration_ns > 0
    contexts = [told.contexts[told.events.index(each)] for each in (query, explained)]
    assert contexts[0] is contexts[1]
    assert "people" in explained.plan
    expected = {"postgresql": "(id = ?)", "mariadb": "key=PRIMARY"}
    assert expected.get(case.system, "(rowid=?)") in explained.plan


def test_the_sessions_that_explain_are_not_the_applications_and_nobody_hears_of_them(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    """The pool has one connection, which is held all the time."""

    def act() -> None:
        with engine.connect() as connection:
            connection.execute(select(people.c.id)).all()
            assert explainer.settle(30)
            connection.execute(select(people.c.name)).all()
            assert explainer.settle(30)

    case.run(act)
    assert explainer.lost == {}
    names = [name for name in told.names() if name != "TransactionReleased"]
    assert names == [
        "ConnectionCheckedOut",
        "QueryExecuted",
        "QueryExplained",
        "QueryExecuted",
        "QueryExplained",
        "ConnectionCheckedIn",
    ]


def test_it_is_asked_on_another_thread(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    threads = []
    made = explainer._answer

    def answer(task: Any) -> None:
        threads.append(threading.current_thread())
        made(task)

    explainer._answer = answer  # type: ignore[method-assign]
    run(case, engine, select(people))
    assert explainer.settle(30)
    (thread,) = threads
    assert thread is not threading.current_thread()
    thread.join(30)
    assert not thread.is_alive()


LITERALS = "name = 'xq-literal' AND note LIKE '%xq-like%' AND id NOT IN (918273, 918274)"
CANARIES = re.compile(r"xq|(?<![0-9a-f])(?:91827[34]|1977)(?![0-9a-f])")
"""Digits within a number or an id that are like a value's by chance are none."""


@pytest.mark.parametrize("kind", ["text", "core", "driver"])
def test_no_value_is_in_the_plan_the_event_or_the_log(
    case: Case,
    told: Told,
    engine: Engine,
    explainer: Explainer,
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    by_hand = text(f"SELECT id FROM people WHERE {LITERALS} AND note = :note AND born < :born")
    by_hand = by_hand.bindparams(bindparam("born", type_=Date))
    wanted = select(people.c.id).where(
        people.c.name.in_(["xq-1", "xq-2"]),
        people.c.note == literal_column("'xq-literal'"),
        people.c.id > 918273,
        people.c.born > date(1977, 7, 7),
        func.lower(people.c.note) == "xq-lower",
    )

    def act() -> None:
        with engine.connect() as connection:
            if kind == "text":
                values = {"note": "xq-bound", "born": date(1977, 7, 7)}
                connection.execute(by_hand, values).all()
            elif kind == "core":
                connection.execute(wanted.order_by(people.c.name == "xq-sort")).all()
            else:
                takes_percent = engine.dialect.paramstyle in ("format", "pyformat")
                where = LITERALS.replace("%", "%%") if takes_percent else LITERALS
                connection.exec_driver_sql(f"SELECT id FROM people WHERE {where}").all()

    with caplog.at_level(logging.DEBUG):
        case.run(act)
        assert explainer.settle(30)
    explained = told.one(QueryExplained)
    assert "people" in explained.plan
    said = explained.plan + json.dumps(explained.to_dict()) + repr(explained)
    said += codec.encode_cloudevent(explained).decode()
    said += "".join(r.getMessage() for r in caplog.records if r.name.startswith("otel_dbevents"))
    assert CANARIES.findall(said) == []


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda c: c.execute(insert(people), {"id": 9}), id="insert"),
        pytest.param(lambda c: c.execute(text("UPDATE people SET note = 'x'")), id="update"),
        pytest.param(lambda c: c.execute(select(people.c.id).with_for_update()).all(), id="locks"),
        pytest.param(lambda c: c.execute(insert(people), [{"id": 9}, {"id": 8}]), id="batch"),
    ],
)
def test_what_writes_or_locks_is_not_even_asked_for(
    case: Case, told: Told, engine: Engine, explainer: Explainer, act: Any
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            act(connection)

    case.run(scene)
    assert explainer.settle(30)
    assert (told.of(QueryExplained), explainer.lost) == ([], {})


@pytest.mark.parametrize("case", ["psycopg", "psycopg_async"], indirect=True)
def test_a_select_for_a_list_of_values_is_not_asked_for(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1 WHERE 1 = %s", [(1,), (2,)])

    case.run(scene)
    assert explainer.settle(30)
    assert told.one(QueryExecuted).batch_size == 2
    assert (told.of(QueryExplained), explainer.lost) == ([], {})


def test_a_text_that_the_driver_takes_as_it_is_is_asked_as_it_is(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    """A per cent sign is no placeholder then."""

    def scene() -> None:
        with engine.connect() as connection:
            plain = connection.execution_options(no_parameters=True)
            plain.exec_driver_sql("SELECT id FROM people WHERE note LIKE '%a%'").all()

    case.run(scene)
    assert explainer.settle(30)
    assert explainer.lost == {}
    assert told.one(QueryExplained)


def test_a_query_that_failed_is_not_explained(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    with pytest.raises(case.about.errors):
        run(case, engine, text("SELECT nosuch FROM people"))
    assert explainer.settle(30)
    assert (told.of(QueryExplained), explainer.lost) == ([], {})


def test_what_may_not_be_asked_is_counted_and_said_in_fixed_words(
    case: Case,
    told: Told,
    engine: Engine,
    explainer: Explainer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(case, engine, text("SELECT 'xq-;' AS a"))
    assert explainer.settle(30)
    assert (told.of(QueryExplained), explainer.lost) == ([], {"explain_refused": 1})
    (said,) = (r.getMessage() for r in caplog.records if r.name == "otel_dbevents.sources")
    assert said == (
        "A slow query was not explained: it is no single SELECT that surely changes nothing "
        "(explain_refused: 1 so far)"
    )


LOCKING = ("pysqlite", "aiosqlite", "psycopg", "psycopg_async", "asyncpg", "pymysql", "asyncmy")
LOCKS = {
    "sqlite": ("BEGIN EXCLUSIVE", "SQLITE_BUSY"),
    "postgresql": ("LOCK TABLE people", "55P03"),
    "mariadb": ("LOCK TABLES people WRITE", "1969"),
}


@pytest.mark.parametrize("case", LOCKING, indirect=True)
@pytest.mark.swallows
def test_a_session_waits_for_no_lock_longer_than_it_may(
    case: Case,
    told: Told,
    engine: Engine,
    explainer: Explainer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The application holds the lock until the explaining was given up."""
    explainer._timeout_ms = 100
    lock, expected = LOCKS[case.system]

    def act() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql(lock)
            connection.execute(select(people.c.id)).all()
            assert explainer.settle(30)

    case.run(act)
    assert (told.of(QueryExplained), explainer.lost) == ([], {"explain_failed": 1})
    (said,) = (r.getMessage() for r in caplog.records if r.name == "otel_dbevents.sources")
    assert expected in said


LYING = """
    CREATE TABLE written (n integer);
    CREATE FUNCTION writes() RETURNS integer LANGUAGE plpgsql VOLATILE
    AS $$ BEGIN INSERT INTO written VALUES (1); RETURN 1; END $$;
    CREATE FUNCTION lying() RETURNS integer LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN writes(); END $$
"""


@pytest.mark.parametrize("case", ["psycopg", "psycopg_async", "asyncpg"], indirect=True)
@pytest.mark.swallows
def test_a_function_that_a_planner_runs_writes_nothing_for_us(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    """PostgreSQL runs functions that claim to be immutable when it plans."""
    autocommit = case.engine(isolation_level="AUTOCOMMIT")

    def act() -> None:
        with engine.begin() as connection:
            for statement in LYING.split(";\n    CREATE"):
                create = statement if "CREATE" in statement else f"CREATE{statement}"
                connection.exec_driver_sql(create)
        with engine.begin() as connection:
            connection.execute(text("SELECT lying()")).all()
        assert explainer.settle(30)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM written")).scalar_one() == 1
        with autocommit.connect() as connection:
            connection.execute(text("SELECT lying() AS again")).all()
            assert explainer.settle(30)
            assert connection.execute(text("SELECT count(*) n FROM written")).scalar_one() == 2

    case.run(act)
    assert explainer.settle(30)
    assert explainer.lost == {"explain_failed": 2}


WRITING = """
    CREATE FUNCTION writes() RETURNS integer DETERMINISTIC MODIFIES SQL DATA
    BEGIN INSERT INTO written VALUES (1); RETURN 1; END
"""


@pytest.mark.swallows  # the server refuses to explain it
@pytest.mark.parametrize("case", ["pymysql", "asyncmy"], indirect=True)
def test_a_function_that_mariadb_runs_to_explain_writes_nothing_for_us(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    """MariaDB's EXPLAIN runs functions that it takes for constant, with all that they do."""

    def act() -> tuple[int, int]:
        counted = []
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE written (n integer)")
            connection.exec_driver_sql(WRITING)
            for _ in "explained", "not again":
                connection.exec_driver_sql("SELECT id FROM people WHERE id = writes()").all()
                connection.commit()
                assert explainer.settle(30)
                counted.append(connection.exec_driver_sql("SELECT sum(n) FROM written").scalar())
        return counted[0], counted[1] - counted[0]

    first, second = case.run(act)
    assert first == second > 0
    assert explainer.settle(30)
    assert explainer.lost == {"explain_failed": 1}


def test_a_stream_is_explained(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    def act() -> None:
        with engine.connect() as connection:
            options = {"stream_results": True, "max_row_buffer": 1}
            rows = connection.execution_options(**options).execute(select(people))
            assert len(list(rows)) == 3

    case.run(act)
    assert explainer.settle(30)
    assert told.one(QueryExplained).query_id == told.one(QueryExecuted).id


@pytest.mark.parametrize("streaming", [False, True])
def test_a_query_that_is_slow_to_read_alone_is_explained(
    told: Told, explainer: Explainer, tmp_path: Path, streaming: bool
) -> None:
    """SQLite finds its rows as they are fetched."""
    source = EngineSource(told, notice=Notice(slow_ns=30_000_000), explainer=explainer)
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    source.attach(engine)
    numbers = select(literal_column("1").label("i")).cte("n", recursive=True)
    numbers = numbers.union_all(select(numbers.c.i + 1).where(numbers.c.i < 300_000))
    statement = select(numbers.c.i).where(numbers.c.i.in_((1, 300_000)))
    with engine.connect() as connection:
        asked = connection.execution_options(stream_results=streaming)
        asked.execute(statement).all()
    assert explainer.settle(30)
    query = told.one(QueryExecuted)
    assert query.duration_ns < query.reading_ns
    assert told.one(QueryExplained).query_id == query.id
    source.detach()
    engine.dispose()


def test_a_result_that_is_not_read_is_explained_when_its_connection_goes_back(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    def act() -> None:
        with engine.connect() as connection:
            connection.execute(select(people.c.id))

    case.run(act)
    assert explainer.settle(30)
    assert told.one(QueryExplained).query_id == told.one(QueryExecuted).id


def test_a_result_is_freed_at_once(told: Told, source: EngineSource, tmp_path: Path) -> None:
    """What is kept for the explaining must not lead back to the result."""
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    contexts = []
    event.listen(
        engine, "after_cursor_execute", lambda *a: contexts.append(weakref.ref(a[4])), named=False
    )
    gc.collect()
    gc.disable()
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1 AS a")).all()
            streaming = connection.execution_options(stream_results=True)
            streaming.execute(select(literal_column("1"))).all()
            assert [context() for context in contexts] == [None, None]
    finally:
        gc.enable()
    engine.dispose()


def test_a_statement_is_explained_once_and_so_many_a_minute(
    case: Case, told: Told, engine: Engine
) -> None:
    few = Explainer(per_minute=2)
    engine.dialect._otel_dbevents.explainer = few  # type: ignore[attr-defined]
    for value in (1, 2, 3):
        run(case, engine, select(people.c.id).where(people.c.id == value))
    run(case, engine, select(people.c.name))
    run(case, engine, select(people.c.note))
    assert few.settle(30)
    assert few.lost == {}
    plans = told.of(QueryExplained)
    assert [each.query_id for each in plans] == [told.of(QueryExecuted)[n].id for n in (0, 3)]


class Stuck:
    """A creator whose later connections wait until they are let go."""

    def __init__(self, path: Path) -> None:
        self.path, self.opened = path, 0
        self.go, self.waiting = threading.Event(), threading.Event()

    def __call__(self) -> Any:
        self.opened += 1
        if self.opened > 1:
            self.waiting.set()
            assert self.go.wait(60)
        return sqlite3.connect(self.path, check_same_thread=False)


def test_what_waits_is_bounded_and_lost_when_closed(
    told: Told, source: EngineSource, explainer: Explainer, tmp_path: Path
) -> None:
    stuck = Stuck(tmp_path / "a.db")
    engine = create_engine(f"sqlite:///{tmp_path}/a.db", creator=stuck)
    with engine.connect() as connection:
        for number in range(30):
            connection.execute(select(literal_column("1").label(f"n{number}"))).all()
        assert not explainer.settle(0)
        full = explainer.lost["explain_queue_full"]
        assert full in (9, 10)  # one may be out of the queue already
        explainer.close()
        explainer.close()
        connection.execute(select(literal_column("2").label("late"))).all()
        stuck.go.set()
        assert explainer.settle(30)
    assert explainer.lost == {"explain_queue_full": full, "explain_closed": 30 - full}
    assert told.of(QueryExplained) == []
    engine.dispose()


def test_a_session_that_hangs_is_not_waited_for_again(
    told: Told, source: EngineSource, explainer: Explainer, tmp_path: Path
) -> None:
    stuck = Stuck(tmp_path / "a.db")
    engine = create_engine(f"sqlite:///{tmp_path}/a.db", creator=stuck)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert stuck.waiting.wait(30)
    explainer._overdue -= 3_600
    let_go = threading.Timer(3, stuck.go.set)
    let_go.start()
    assert not explainer.settle(30)  # else it would wait until the session was let go
    let_go.join()
    explainer._overdue += 3_600
    assert explainer.settle(30)
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///file:x?mode=memory&cache=shared&uri=true"])
def test_a_database_in_memory_is_not_asked(
    told: Told, source: EngineSource, explainer: Explainer, url: str
) -> None:
    engine = create_engine(url, poolclass=SingletonThreadPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert explainer.settle(30)
    assert explainer.lost == {"explain_refused": 1}
    engine.dispose()


def test_an_engine_with_one_connection_for_all_is_not_asked(
    told: Told, source: EngineSource, explainer: Explainer, tmp_path: Path
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db", poolclass=StaticPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert explainer.settle(30)
    assert explainer.lost == {"explain_refused": 1}
    engine.dispose()


async def test_an_async_engine_with_a_creator_of_its_own_is_not_asked(
    told: Told, source: EngineSource, explainer: Explainer, tmp_path: Path
) -> None:
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{tmp_path}/a.db",
        creator=lambda: engine.dialect.dbapi.connect(tmp_path / "a.db"),
        poolclass=AsyncAdaptedQueuePool,
    )
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    await engine.dispose()
    assert explainer.settle(30)
    assert explainer.lost == {"explain_refused": 1}


@pytest.mark.parametrize("case", ["libsql_replica"], indirect=True)
def test_an_embedded_replica_is_not_asked(
    case: Case, told: Told, source: EngineSource, explainer: Explainer
) -> None:
    run(case, case.engine(), text("SELECT 1"))
    assert explainer.settle(30)
    assert (told.of(QueryExplained), explainer.lost) == ([], {"explain_refused": 1})


def test_it_connects_as_the_application_does(
    case: Case, told: Told, engine: Engine, explainer: Explainer
) -> None:
    """What a ``connect`` listener sets up is there for the plan, too; nobody is to tell of it."""
    seen = []

    def connected(connection: Any, _record: Any) -> None:
        main = threading.current_thread() is threading.main_thread()
        seen.append((main, suppressed(otel_context.get_current())))

    event.listen(engine, "connect", connected)
    run(case, engine, select(people))
    assert explainer.settle(30)
    assert told.one(QueryExplained)
    assert seen == [(False, True)]


@pytest.mark.needs("autocommit")
def test_an_engine_in_autocommit_is_asked_in_a_transaction(
    case: Case, told: Told, source: EngineSource, explainer: Explainer
) -> None:
    engine = case.engine(isolation_level="AUTOCOMMIT")
    run(case, engine, text("SELECT 1 AS n"))
    assert explainer.settle(30)
    assert explainer.lost == {}
    assert told.one(QueryExplained)


def test_off_there_is_nobody_to_ask(told: Told, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    source = EngineSource(told, notice=Notice(slow_ns=1))
    source.attach(engine)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
    assert engine.dialect._otel_dbevents.explainer is None  # type: ignore[attr-defined]
    assert told.of(QueryExplained) == []
    source.detach()
    engine.dispose()


def test_a_session_of_sqlites_writes_nothing_and_is_interrupted(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/a.db")
    connection = sqlite3.connect(tmp_path / "a.db")
    _fence_sqlite(engine.dialect, connection, connection.cursor(), 1)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("CREATE TABLE t (a)")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT max(i) FROM n"
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        connection.execute(endless).fetchall()
    connection.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_anew(
    told: Told, source: EngineSource, explainer: Explainer, tmp_path: Path
) -> None:
    stuck = Stuck(tmp_path / "a.db")
    engine = create_engine(f"sqlite:///{tmp_path}/a.db", creator=stuck)
    with engine.connect() as connection:
        connection.execute(text("SELECT 1")).all()
        child = os.fork()
        if not child:  # pragma: no cover - measured in the parent
            signal.alarm(60)
            stuck.opened = -10
            fresh = explainer.settle(0) and explainer.lost == {}
            with engine.connect() as own:
                own.execute(text("SELECT 1")).all()
            settled = explainer.settle(30)
            os._exit(0 if fresh and settled and len(told.of(QueryExplained)) == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        stuck.go.set()
    engine.dispose()

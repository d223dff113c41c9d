"""Where in the application a query came from, and what would mend its repetition."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from sqlalchemy import Engine, create_engine, exc, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, joinedload, selectinload

from otel_dbevents.events import CheckoutTimedOut, CodeLocation, QueryExecuted, QueryFailed
from otel_dbevents.sources import location
from otel_dbevents.sources.engine import EngineSource
from otel_dbevents.sources.watch import Notice
from tests.sources.engines import Case, Told
from tests.sources.shop import Author, Base, Book

tracer = TracerProvider().get_tracer("test")
HERE = "tests/sources/test_location.py"


@pytest.fixture
def source(told: Told) -> Iterator[EngineSource]:
    """A source for which three runs of a statement are many, and a second is slow."""
    made = EngineSource(told, notice=Notice(slow_ns=10**9, repeated=3))
    made.attach()
    yield made
    made.detach()


@pytest.fixture
def engine(case: Case, told: Told, source: EngineSource) -> Engine:
    """An engine with five authors who have two books each."""
    made = case.engine()

    def fill() -> None:
        Base.metadata.create_all(made)
        with Session(made) as session:
            for number in range(5):
                books = [Book(title=f"{number}a"), Book(title=f"{number}b")]
                session.add(Author(name=f"author {number}", books=books))
            session.commit()

    case.run(fill)
    told.forget()
    return made


def test_the_demonstration_is_an_application_where_it_is_installed(monkeypatch: Any) -> None:
    package = "/venv/lib/python3.11/site-packages/otel_dbevents/"
    monkeypatch.setattr(location, "_OWN", package)
    monkeypatch.setattr(location, "_DEMO", package + "demo/")
    kinds = [location._kind(package + file) for file in ("demo/retrieval.py", "pipeline.py")]
    assert kinds == [location._APPLICATION, location._MACHINERY]


def line_of(mark: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    (found,) = (number for number, line in enumerate(lines, 1) if line.endswith(f"# {mark}"))
    return found


def located(told: Told) -> list[Any]:
    return [query for query in told.of(QueryExecuted) if query.called_from is not None]


def test_a_lazy_load_in_a_loop_tells_its_line_and_the_loader_option(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with tracer.start_as_current_span("page"), Session(engine) as session:
            for author in session.scalars(select(Author)):
                len(author.books)  # lazy books

    case.run(scene)
    (query,) = located(told)
    assert query.called_from.file_path == HERE
    assert query.called_from.line_number == line_of("lazy books")
    assert query.called_from.function_name.endswith(".scene")
    assert query.advice == (
        "Author.books is lazy-loaded row by row: "
        "add options(selectinload(Author.books)) to the first query"
    )
    assert "5" not in query.advice


@pytest.mark.parametrize(
    ("read", "said"),
    [
        pytest.param(lambda book: book.author.name, "joinedload(Book.author)", id="many to one"),
        pytest.param(lambda book: book.text, "undefer()", id="deferred"),
    ],
)
def test_the_advice_is_of_the_kind_of_load(
    case: Case, told: Told, engine: Engine, read: Any, said: str
) -> None:
    def scene() -> None:
        with tracer.start_as_current_span("page"), Session(engine) as session:
            for book in session.scalars(select(Book)).all():
                read(book)

    case.run(scene)
    (query,) = located(told)
    assert said in query.advice


@pytest.mark.parametrize("option", [selectinload(Author.books), joinedload(Author.books)])
def test_with_the_advice_followed_nothing_repeats(
    case: Case, told: Told, engine: Engine, option: Any
) -> None:
    def scene() -> None:
        with tracer.start_as_current_span("page"), Session(engine) as session:
            for author in session.scalars(select(Author).options(option)).unique():
                len(author.books)

    case.run(scene)
    assert located(told) == []


def test_a_statement_of_the_applications_own_has_a_line_and_no_advice(
    case: Case, told: Told, engine: Engine
) -> None:
    def scene() -> None:
        with tracer.start_as_current_span("page"), engine.connect() as connection:
            for number in range(5):
                connection.execute(text(f"SELECT {number} AS n"))  # text in a loop

    case.run(scene)
    (query,) = located(told)
    assert query.called_from.line_number == line_of("text in a loop")
    assert query.advice == ""


def test_without_a_span_nothing_is_counted(case: Case, told: Told, engine: Engine) -> None:
    def scene() -> None:
        with engine.connect() as connection:
            for _ in range(5):
                connection.execute(text("SELECT 1")).all()

    case.run(scene)
    assert located(told) == []


def test_only_a_slow_query_has_its_line(told: Told) -> None:
    engine = create_engine("sqlite://")
    for slow_ns, expected in ((1, True), (10**12, False), (0, False)):
        source = EngineSource(told, notice=Notice(slow_ns=slow_ns))
        source.attach(engine)
        with engine.connect() as connection:
            connection.execute(text("SELECT 1")).all()  # slow
            with pytest.raises(exc.OperationalError):
                connection.execute(text("SELECT nosuch"))
        source.detach()
        query, failed = told.one(QueryExecuted), told.one(QueryFailed)
        assert (query.called_from is not None) is expected
        assert (failed.called_from is not None) is expected
        told.forget()
    engine.dispose()


def test_a_query_that_is_slow_to_read_has_the_line_that_reads(told: Told) -> None:
    """SQLite finds its rows as they are fetched."""
    source = EngineSource(told, notice=Notice(slow_ns=30_000_000))
    engine = create_engine("sqlite://")
    source.attach(engine)
    with engine.connect() as connection:
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 300000)"
        result = connection.execute(text(f"{numbers} SELECT i FROM n WHERE i = 1 OR i = 300000"))
        result.all()  # reads
    query = told.one(QueryExecuted)
    assert query.duration_ns < query.reading_ns
    assert query.called_from.line_number == line_of("reads")
    source.detach()
    engine.dispose()


async def test_an_async_application_is_found_behind_the_greenlet(
    told: Told, source: EngineSource, tmp_path: Path
) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/a.db")
    with tracer.start_as_current_span("page"):
        async with AsyncSession(engine) as session:
            for _ in range(3):
                await session.execute(text("SELECT 1"))  # awaited
    await engine.dispose()
    (query,) = located(told)
    assert query.called_from.file_path == HERE
    assert query.called_from.line_number == line_of("awaited")
    assert "behind_the_greenlet" in query.called_from.function_name


def test_who_holds_a_pools_connections_is_told_with_the_line(
    case: Case, told: Told, source: EngineSource
) -> None:
    engine = case.engine(pool_size=2, max_overflow=0, pool_timeout=0.05)

    def scene() -> None:
        with engine.connect():  # holds one
            session = Session(engine)
            session.connection()  # holds another
            with pytest.raises(exc.TimeoutError):
                engine.connect()
            session.close()

    case.run(scene)
    holders = told.one(CheckoutTimedOut).holders
    assert {holder.called_from.line_number for holder in holders} == {
        line_of("holds one"),
        line_of("holds another"),
    }
    assert {holder.called_from.file_path for holder in holders} == {HERE}


def test_the_path_is_told_without_the_folders_above(tmp_path: Path) -> None:
    package = tmp_path / "secret-customer" / "shop"
    package.mkdir(parents=True)
    (package / "orders.py").write_text(
        "from otel_dbevents.sources.location import here\nfound = here()\n"
    )
    program = "import shop.orders; print(repr(shop.orders.found))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=package.parent,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    expected = CodeLocation("shop/orders.py", 2, "shop.orders.<module>")
    assert done.stdout.strip() == repr(expected)


def test_an_installed_application_is_told_by_what_is_above_sqlalchemy(tmp_path: Path) -> None:
    """As in an image where the application was installed by pip."""
    installed = tmp_path / "site-packages" / "shop"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text(
        textwrap.dedent(
            """
            from sqlalchemy import create_engine, text
            from otel_dbevents.sources.engine import EngineSource
            from otel_dbevents.sources.watch import Notice

            def run():
                told = []
                source = EngineSource(lambda e, c: told.append(e), notice=Notice(slow_ns=1))
                source.attach()
                with create_engine("sqlite://").connect() as connection:
                    connection.execute(text("SELECT 1")).all()
                return next(e.called_from for e in told if e.event_type == "QueryExecuted")
            """
        )
    )
    program = "import shop; found = shop.run(); print(found.file_path, found.function_name)"
    paths = f"{installed.parent}:{Path(__file__).parents[2]}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["shop/__init__.py", "shop.run"]

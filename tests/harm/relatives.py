"""A process whose children, made by `multiprocessing`, use the database too.

    python -m tests.harm.relatives METHOD URL

Nobody flushes: each is told of at its end. Printed are the exit codes of the children.
"""

import multiprocessing
import sys

from sqlalchemy import create_engine, text

import otel_dbevents.auto  # noqa: F401


def work(url: str, name: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        for _ in range(5):
            connection.execute(text(f"SELECT 1 AS {name}")).all()


if __name__ == "__main__":
    work(sys.argv[2], "parent")
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=work, args=(sys.argv[2], f"child{n}")) for n in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children])

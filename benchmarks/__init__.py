"""What it costs, measured: `make bench`, or `python -m benchmarks --help`.

Each variant (bare SQLAlchemy, two empty listeners, contrib's instrumentor, ours) is a process of
its own, instrumented as a user would do it, so that none pays for another's. They take turns, one
at a time, in rotated order; told is what each adds to the bare one, and its ratio to contrib.

    scenes, variants     what is done, and under what: the rows
    child                one variant's process;  output: what came out of it;  receiver: for OTLP
    expected             what must have come out: who is fast by doing nothing fails the run
    measuring            times;  turns: the processes that take them
    instructions         counts by valgrind;  nursery: their processes;  limits: what CI guards
    result, runs         the one object of which table, chart, page and JSON are made; several
"""

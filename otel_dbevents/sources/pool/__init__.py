"""The pool: connections made, given out, taken back, refused; and its numbers, read from it.

`checkout` tells what the pool gives and refuses, `checkin` what comes back to it and what it
closes, `unusable` which connections were found broken, and why; `places` reads how many it has.

No event of SQLAlchemy fires when a pool is exhausted, nor when `Engine.raw_connection` cannot
connect. So that method, through which every checkout of an engine goes, is where we stand; what
comes back and is closed a pool is asked by its own methods (`otel_dbevents.sources.seams`).
"""

"""Plans of slow queries, where the user asked for them.

`question` is a statement and whether it may be asked about, `asking` a session of our own that asks
the database, `plan` what of the answer may leave the process; `explainer` has the queue, the limits
and the worker.
"""

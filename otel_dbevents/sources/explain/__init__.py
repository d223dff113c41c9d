"""Plans of slow queries, where the user asked for them.

`question` is a statement with its values, `refusing` says whether it may be asked about, `asking`
is a session of our own that asks the database, `plan` what of the answer may leave the process;
`explainer` has the queue, the limits and the worker. All but `question` is imported only where
plans are wanted.
"""
